"""Bodies and queries at random: whatever comes, the answer is no 5xx (INV-40)."""

import json
import os
import random
from typing import Any

import pytest

from nova_async.api.routes import ROUTES
from nova_async.api.schema import Literal, at
from nova_async.api.versions import LATEST
from tests.api.conftest import IMAGE, NETWORK

SEEDS = range(int(os.environ.get("NOVA_ASYNC_TEST_SEEDS", "1")))
ODD: list[Any] = [
    *(None, True, False, 0, -1, 1, 2**31, 2**63 - 1, 1.5, "", " ", "a", "1", "-1", "0", "a" * 300, "é", "\U0001f600", "'", '"', "%", "%s"),
    *("{}", "$1", "\\", "../..", "a\nb", "\x7f", "2026-01-01", IMAGE, NETWORK, "1", "host1", "nova:host1:x", ":", "::", "1.2.3.4", "::1"),
    *([], {}, [None], [[]], {"a": {}}, {"": ""}, [1, 2], ["a", "a"], {"name": "default"}),
]


def invent(schema: Literal, chance: random.Random, depth: int = 0) -> Any:
    """A value that fits the schema more or less."""
    if chance.random() < 0.12 or depth > 6:
        return chance.choice(ODD)
    for key in ("oneOf", "anyOf"):
        if key in schema:
            return invent(chance.choice(schema[key]), chance, depth + 1)
    if "enum" in schema:
        return chance.choice(schema["enum"])
    kind = schema.get("type")
    kind = chance.choice(kind) if isinstance(kind, list) else kind
    if kind == "object":
        names = [n for n in schema.get("properties", {}) if n in schema.get("required", ()) or chance.random() < 0.3]
        value = {name: invent(schema["properties"][name], chance, depth + 1) for name in names}
        if "patternProperties" in schema and chance.random() < 0.7:
            value[chance.choice(["k", "é", "a b", "x" * 300, ""])] = chance.choice(ODD)
        return value
    if kind == "array":
        return [invent(schema.get("items", {}), chance, depth + 1) for _ in range(chance.randrange(3))]
    if kind == "integer":
        return chance.choice([0, 1, 2, 3, 2**31 - 1, -1])
    if schema.get("format") == "uuid":
        return chance.choice([IMAGE, NETWORK, IMAGE.replace("-", ""), "{" + IMAGE + "}"])
    return chance.choice(
        ["1", "web", "a b", IMAGE, NETWORK, "IyEvYmluL3No", "10.0.0.1", "auto", "none", *(v for v in ODD if isinstance(v, str))]
    )


@pytest.mark.parametrize("seed", SEEDS)
async def test_odd_bodies_are_never_our_fault(api, seed: int) -> None:
    chance = random.Random(seed)
    server = await api.server()
    for route in ROUTES:
        if route.body is None or route.handler is None:
            continue
        for _ in range(12):
            version = chance.choice([v for v in (1, 18, 36, 37, 56, 74, 90, LATEST) if route.serves(v)] or [route.since])
            body = invent(at(route.body.literal, version), chance)
            path = route.path.replace("{server_id}", server).replace("{id}", server if "/servers/{id}" in route.path else "1")
            path = path.replace("{flavor_id}", "1")
            answer = await api.ask(route.method, path, "admin", f"2.{version}", json.dumps(body).encode())
            assert answer.status < 500 or answer.status == 501, (route.method, path, version, body, answer)


@pytest.mark.parametrize("seed", SEEDS)
async def test_odd_queries_are_never_our_fault(api, seed: int) -> None:
    chance = random.Random(seed)
    server = await api.server()
    texts = [*(str(v) for v in ODD if not isinstance(v, list | dict)), "(", "[[:x:]]", "a{99999}", "(?<!a)", "\\y", "2026-01-01T00:00:00Z"]
    texts += ["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "asc", "desc", "uuid", "created_at", "ACTIVE", "deleted", server]
    for route in ROUTES:
        if route.method != "GET" or route.handler is None:
            continue
        for _ in range(10):
            version = chance.choice([v for v in (1, 30, 60, 74, 90, LATEST) if route.serves(v)] or [route.since])
            names = [*at(route.query.keys, version), "x", "_x"]
            query = [(chance.choice(names), chance.choice(texts)) for _ in range(chance.randrange(4))]
            path = route.path.replace("{server_id}", server).replace("{id}", chance.choice([server, "1", "x"])).replace("{flavor_id}", "1")
            answer = await api.get(path, chance.choice(["admin", "member"]), f"2.{version}", params=query)
            assert answer.status < 500 or answer.status == 501, (path, version, query, answer)
