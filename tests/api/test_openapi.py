"""The OpenAPI document says what the table says."""

import re

import jsonschema

from nova_async.api.openapi import document
from nova_async.api.routes import ROUTES
from nova_async.api.versions import LATEST


async def test_the_document_is_there_for_everybody(api) -> None:
    answer = await api.get("/openapi.json", caller=None)
    assert answer.status == 200
    assert answer.body["openapi"] == "3.1.0"
    assert answer.body["info"]["version"] == "2.104"
    assert answer.body["servers"][0]["url"].endswith("/compute/v2.1")


def test_every_row_of_the_newest_version_is_in_it() -> None:
    paths = document(ROUTES, "http://x/compute")["paths"]
    for route in ROUTES:
        if route.serves(LATEST):
            operation = paths[route.path][route.method.lower()]
            assert str(route.status(LATEST)) in operation["responses"]
            assert {p["name"] for p in operation["parameters"] if p["in"] == "path"} == set(re.findall(r"{(\w+)}", route.path))
    assert "/os-agents" not in paths


def test_operation_ids_differ() -> None:
    ids = [o["operationId"] for path in document(ROUTES, "http://x")["paths"].values() for o in path.values()]
    assert len(ids) == len(set(ids))


def test_every_schema_in_it_is_valid_json_schema_of_2020() -> None:
    whole = document(ROUTES, "http://x/compute")
    found = 0
    for path in whole["paths"].values():
        for operation in path.values():
            bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
            schemas = [b["content"]["application/json"]["schema"] for b in bodies if "content" in b]
            for schema in [*schemas, *(p["schema"] for p in operation["parameters"])]:
                jsonschema.Draft202012Validator.check_schema(schema)
                found += 1
    assert found > 50


def test_older_versions_can_be_described_too() -> None:
    old = document(ROUTES, "http://x", 1)
    create = old["paths"]["/servers"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert "personality" in create["properties"]["server"]["properties"]
    assert "tags" not in create["properties"]["server"]["properties"]
