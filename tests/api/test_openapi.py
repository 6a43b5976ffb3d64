"""The OpenAPI document says what the table says."""

import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from nova_async.api.openapi import document
from nova_async.api.routes import ROUTES
from nova_async.api.versions import LATEST

# Where rows begin and end, and the last version before.
EDGES = {int(v) for r in ROUTES if r.handler for v in (r.since, min(r.until, LATEST), max(1, r.since - 1))}


def test_objects_of_answers_are_closed_or_hold_the_users_own_keys() -> None:
    """A view that forgets a field's type, or leaves an object open, would let everything pass."""
    loose = set()
    for route in ROUTES:
        shape = route.view.schema(max(route.since, min(route.until, LATEST))) if route.handler and route.view else None
        loose |= {(route.path, place) for place in _loose(shape, "")} if shape is not None else set()
    assert {place for _, place in loose} <= OPEN, loose


OPEN = {
    ".hypervisor.cpu_info",  # the driver's own keys
    ".hypervisors[].cpu_info",
    ".server.scheduler_hints{}[]",
    ".servers[].scheduler_hints{}[]",
}
NETWORKS = (".network.", ".networks[].")  # most of their fields are null


def _loose(shape: Any, place: str) -> Iterator[str]:
    """Where a schema takes anything."""
    for part in (*shape.get("anyOf", ()), *shape.get("oneOf", ())):
        yield from _loose(part, place)
    kinds = shape.get("type", ())
    typed = {"type", "enum", "anyOf", "oneOf"} & set(shape) or place.startswith(NETWORKS)
    if not typed or ("object" in kinds and "additionalProperties" not in shape):
        yield place
    for name, part in shape.get("properties", {}).items():
        yield from _loose(part, f"{place}.{name}")
    if isinstance(shape.get("additionalProperties"), dict):
        yield from _loose(shape["additionalProperties"], f"{place}{{}}")
    if "array" in kinds and shape.get("maxItems") != 0:
        yield from _loose(shape.get("items", {}), f"{place}[]")


async def test_the_document_is_there_for_everybody(api) -> None:
    answer = await api.get("/openapi.json", caller=None)
    assert answer.status == 200
    assert answer.body["openapi"] == "3.1.0"
    assert answer.body["info"]["version"] == "2.104"
    assert answer.body["servers"][0]["url"].endswith("/compute/v2.1")


@pytest.mark.parametrize(
    ("path", "headers", "version"),
    [
        ("/openapi.json?version=2.37", {}, "2.37"),
        ("/openapi.json", {"OpenStack-API-Version": "compute 2.60"}, "2.60"),
        ("/openapi.json?version=latest", {"OpenStack-API-Version": "compute 2.60"}, "2.104"),
    ],
)
async def test_a_version_may_be_chosen(api, path: str, headers: dict[str, str], version: str) -> None:
    for _ in range(2):  # made, and kept
        answer = await api.get(path, caller=None, headers=headers)
        assert (answer.status, answer.body["info"]["version"]) == (200, version)


@pytest.mark.parametrize(("version", "status"), [("2.105", 406), ("nonsense", 400), ("2.0", 406), ("%00", 400)])
async def test_a_version_that_is_none_is_refused(api, version: str, status: int) -> None:
    assert (await api.get(f"/openapi.json?version={version}", caller=None)).status == status


def test_every_row_of_the_newest_version_is_in_it() -> None:
    paths = document(ROUTES, "http://x/compute")["paths"]
    for route in ROUTES:
        if route.serves(LATEST):
            operation = paths[route.path][route.method.lower()]
            assert str(route.status(LATEST)) in operation["responses"]
            assert {p["name"] for p in operation["parameters"] if p.get("in") == "path"} == set(re.findall(r"{(\w+)}", route.path))
    assert "/os-agents" not in paths


def test_operation_ids_differ() -> None:
    ids = [o["operationId"] for path in document(ROUTES, "http://x")["paths"].values() for o in path.values()]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("version", sorted(EDGES))
def test_every_schema_in_it_is_valid_json_schema_of_2020(version: int) -> None:
    whole = document(ROUTES, "http://x/compute", version)
    found = 0
    for path in whole["paths"].values():
        for operation in path.values():
            bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
            schemas = [b["content"]["application/json"]["schema"] for b in bodies if "content" in b]
            for schema in [*schemas, *(p["schema"] for p in operation["parameters"] if "schema" in p)]:
                jsonschema.Draft202012Validator.check_schema(schema)
                found += 1
    assert found > 50


def test_older_versions_can_be_described_too() -> None:
    old = document(ROUTES, "http://x", 1)
    create = old["paths"]["/servers"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert "personality" in create["properties"]["server"]["properties"]
    assert "tags" not in create["properties"]["server"]["properties"]
