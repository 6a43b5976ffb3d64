"""Placement v1 over HTTP, mounted at ``/placement``, to be read: hosts as providers of resources, and what servers hold of them.

Hosts tell their inventories themselves and claims are made by operations on servers, so that every request that would change
something is refused. A host is one provider, without others below it. Source: Placement's API reference, 1.0 to 1.39.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

from aiohttp import web

from nova_async.context import Context
from nova_async.db import Connection, Database, providers
from nova_async.db.providers import Claim, Provider
from nova_async.errors import Forbidden, Invalid, NotAcceptable, NotFound
from nova_async.services.web import Tokens, context_of, edge, json_response
from nova_async.world import World

LATEST = 39
RESOURCE_CLASSES, TRAITS, USAGES, CANDIDATES = 2, 6, 9, 12  # microversions from which they are served
NESTED, AGGREGATE_GENERATION, CONSUMER_PROJECT, CONSUMER_GENERATION, MAPPINGS, CONSUMER_TYPE = 14, 19, 12, 28, 34, 38
LINKS = (("", 0), ("inventories", 0), ("usages", 0), ("aggregates", 1), ("traits", 6), ("allocations", 11))
BASIC = ("VCPU", "MEMORY_MB", "DISK_GB", "PCPU")
DISABLED = "COMPUTE_STATUS_DISABLED"
VERSION_HEADER = "OpenStack-API-Version"
UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
AMOUNT = re.compile(r"([A-Z0-9_]{1,255}):([1-9][0-9]{0,17})")
NUMBER = re.compile(r"1\.(0|[1-9][0-9]{0,3})")
GROUP = re.compile(r"(resources|required|member_of|in_tree)([a-zA-Z0-9_-]{0,64})")
MOST_CANDIDATES = 1000
READ_ONLY = "Hosts tell what they have, and operations on servers claim it: nothing is changed here by hand."
VERSION: web.RequestKey[int] = web.RequestKey("placement_version", int)
OPEN = "versions"


class Call(NamedTuple):
    """A request that may be served."""

    ctx: Context
    conn: Connection
    version: int
    values: Mapping[str, str]
    query: Mapping[str, list[str]]

    def one(self, name: str) -> str | None:
        """The last value under a name."""
        return self.query.get(name, [None])[-1]


Handler = Callable[[Call], Awaitable[Any]]


def application(database: Database, tokens: Tokens, world: World) -> web.Application:
    """The application; the caller mounts it with ``add_subapp("/placement", ...)``."""
    guard = edge(world, tokens, _fault, lambda request: (request.match_info.route.name or "").startswith(OPEN))
    app = web.Application(middlewares=[guard, _negotiate])

    def served(handler: Handler, since: int) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def serve(request: web.Request) -> web.StreamResponse:
            if request[VERSION] < since:
                raise NotFound("The resource could not be found.")
            query = {name: request.query.getall(name) for name in request.query}
            async with database.connection() as conn:
                body = await handler(Call(context_of(request), conn, request[VERSION], request.match_info, query))
            return web.Response(status=204) if body is None else json_response(body)

        return serve

    app.router.add_get("", _versions, name=OPEN)
    app.router.add_get("/", _versions, name=f"{OPEN}-root")
    for path, handler, since in ROUTES:
        app.router.add_get(path, served(handler, since))
        app.router.add_route("*", path, _refuse)
    return app


@web.middleware
async def _negotiate(request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
    request[VERSION] = version = _asked(request.headers.get(VERSION_HEADER))
    response = await handler(request)
    response.headers[VERSION_HEADER] = f"placement 1.{version}"
    response.headers["Vary"] = VERSION_HEADER
    return response


def _asked(header: str | None) -> int:
    """The minor number of what is wanted of this service; 0 without. Raises ``Invalid``, ``NotAcceptable``."""
    for part in (header or "").split(","):
        words = part.split()
        if len(words) != 2 or words[0] != "placement":
            continue
        if words[1] == "latest":
            return LATEST
        match = NUMBER.fullmatch(words[1])
        if match is None:
            raise Invalid(f"invalid version string: {words[1][:50]}")
        if int(match[1]) > LATEST:
            raise NotAcceptable(f"Unacceptable version header: {words[1]}. Minimum is 1.0 and maximum is 1.{LATEST}.")
        return int(match[1])
    return 0


async def _versions(request: web.Request) -> web.Response:
    version = {
        "id": "v1.0",
        "min_version": "1.0",
        "max_version": f"1.{LATEST}",
        "status": "CURRENT",
        "links": [{"rel": "self", "href": ""}],
    }
    return json_response({"versions": [version]})


async def _refuse(request: web.Request) -> web.Response:
    return json_response(_fault(405, READ_ONLY), 405, {"Allow": "GET"})


# -- providers


async def list_providers(call: Call) -> dict[str, Any]:
    _services_only(call.ctx)
    _asks_for(call, "name", "uuid")
    name, uuid = call.one("name"), _uuid(call.one("uuid"))
    found = [p for p in await providers.all(call.conn) if name in (None, p.name) and uuid in (None, p.id)]
    return {"resource_providers": [_provider(p, call.version) for p in _fitting(call, found, "")]}


async def show_provider(call: Call) -> dict[str, Any]:
    return _provider(await _found(call), call.version)


async def inventories(call: Call) -> dict[str, Any]:
    provider = await _found(call)
    told = {name: _inventory(numbers) for name, numbers in provider.inventory.items()}
    return {"inventories": told, "resource_provider_generation": _generation(provider)}


async def inventory(call: Call) -> dict[str, Any]:
    provider, name = await _found(call), call.values["name"]
    if name not in provider.inventory:
        raise NotFound(f"No inventory of class {name[:255]} for {provider.id}")
    return _inventory(provider.inventory[name]) | {"resource_provider_generation": _generation(provider)}


async def usages(call: Call) -> dict[str, Any]:
    provider = await _found(call)
    used = {name: int(numbers[3]) for name, numbers in provider.inventory.items()}
    return {"usages": used, "resource_provider_generation": _generation(provider)}


async def aggregates(call: Call) -> dict[str, Any]:
    provider = await _found(call)
    generation = {"resource_provider_generation": _generation(provider)} if call.version >= AGGREGATE_GENERATION else {}
    return {"aggregates": provider.aggregates} | generation


async def traits_of_provider(call: Call) -> dict[str, Any]:
    provider = await _found(call)
    return {"traits": _traits(provider), "resource_provider_generation": _generation(provider)}


async def allocations_of_provider(call: Call) -> dict[str, Any]:
    provider = await _found(call)
    told = {}
    for claim in await providers.claims(call.conn, host_id=provider.id):
        told[claim.consumer_id] = {"resources": claim.resources} | _consumer_generation(call)
    return {"allocations": told, "resource_provider_generation": _generation(provider)}


# -- consumers


async def allocations(call: Call) -> dict[str, Any]:
    _services_only(call.ctx)
    consumer = _uuid(call.values["id"])
    claims = await providers.claims(call.conn, consumer_id=consumer)
    generations = {p.id: _generation(p) for p in await providers.all(call.conn)} if claims else {}
    held = {c.host_id: {"resources": c.resources, "generation": generations.get(c.host_id, 0)} for c in claims}
    return {"allocations": held} | (_consumer(call, claims[0]) if claims else {})


async def usages_of_project(call: Call) -> dict[str, Any]:
    project = call.one("project_id")
    if not project:
        raise Invalid("project_id is missing: say whose usage is asked for.")
    if project != call.ctx.project_id:
        _services_only(call.ctx)
    whose = (project, call.one("user_id"))
    used: dict[str, Any] = await providers.used_by_project(call.conn, *whose)
    if call.version >= CONSUMER_TYPE:
        used = {"INSTANCE": used | {"consumer_count": await providers.consumers(call.conn, *whose)}} if used else {}
    return {"usages": used}


async def candidates(call: Call) -> dict[str, Any]:
    """Hosts that have room for all of it now. What numbered groups ask for adds up: a host is one provider."""
    _services_only(call.ctx)
    _asks_for(call, "limit", "group_policy")
    groups = sorted({match[2] for name in call.query if (match := GROUP.fullmatch(name))})
    asked = [group for group in groups if f"resources{group}" in call.query]
    if not asked:
        raise Invalid("resources is missing: say what is to be had, such as resources=VCPU:1,MEMORY_MB:512.")
    found = await providers.all(call.conn)
    for group in groups:
        found = _fitting(call, found, group)
    wanted = _added(_amounts(value) for group in asked for value in call.query[f"resources{group}"])
    found = [p for p in found if _has_room(p, wanted)]
    if call.one("group_policy") == "isolate" and len([group for group in asked if group]) > 1:
        found = []
    found = found[: _limit(call.one("limit"))]
    requests = []
    for provider in found:
        mappings = {"mappings": {group: [provider.id] for group in asked}} if call.version >= MAPPINGS else {}
        requests.append({"allocations": {provider.id: {"resources": wanted}}} | mappings)
    return {"allocation_requests": requests, "provider_summaries": {p.id: _summary(p, call.version) for p in found}}


# -- what there is


async def resource_classes(call: Call) -> dict[str, Any]:
    return {"resource_classes": [_resource_class(name) for name in await _classes(call)]}


async def resource_class(call: Call) -> dict[str, Any]:
    name = call.values["name"]
    if name not in await _classes(call):
        raise NotFound(f"No such resource class {name[:255]}.")
    return _resource_class(name)


async def traits(call: Call) -> dict[str, Any]:
    known = await _known_traits(call)
    wanted = call.one("name") or ""
    if wanted.startswith("in:"):
        known &= set(wanted.removeprefix("in:").split(","))
    elif wanted.startswith("startswith:"):
        known = {name for name in known if name.startswith(wanted.removeprefix("startswith:"))}
    elif wanted:
        raise Invalid("name must be in:NAME,NAME or startswith:PREFIX.")
    return {"traits": sorted(known)}


async def trait(call: Call) -> None:
    if call.values["name"] not in await _known_traits(call):
        raise NotFound(f"No such trait {call.values['name'][:255]}.")


async def _classes(call: Call) -> list[str]:
    _services_only(call.ctx)
    return sorted({*BASIC, *(name for provider in await providers.all(call.conn) for name in provider.inventory)})


async def _known_traits(call: Call) -> set[str]:
    _services_only(call.ctx)
    return {DISABLED, *(name for provider in await providers.all(call.conn) for name in provider.traits)}


ROUTES: tuple[tuple[str, Handler, int], ...] = (
    ("/resource_providers", list_providers, 0),
    ("/resource_providers/{id}", show_provider, 0),
    ("/resource_providers/{id}/inventories", inventories, 0),
    ("/resource_providers/{id}/inventories/{name}", inventory, 0),
    ("/resource_providers/{id}/usages", usages, 0),
    ("/resource_providers/{id}/aggregates", aggregates, 1),
    ("/resource_providers/{id}/traits", traits_of_provider, TRAITS),
    ("/resource_providers/{id}/allocations", allocations_of_provider, 0),
    ("/resource_classes", resource_classes, RESOURCE_CLASSES),
    ("/resource_classes/{name}", resource_class, RESOURCE_CLASSES),
    ("/traits", traits, TRAITS),
    ("/traits/{name}", trait, TRAITS),
    ("/allocations/{id}", allocations, 0),
    ("/allocation_candidates", candidates, CANDIDATES),
    ("/usages", usages_of_project, USAGES),
)


# -- who may, and what is meant


def _services_only(ctx: Context) -> None:
    if not ctx.is_service:
        raise Forbidden("Placement is read by administrators and services.")


async def _found(call: Call) -> Provider:
    """The provider in the path."""
    _services_only(call.ctx)
    asked = call.values["id"]
    provider = await providers.get(call.conn, asked) if UUID.fullmatch(asked) else None
    if provider is None:
        raise NotFound(f"No resource provider with uuid {asked[:255]} found")
    return provider


def _asks_for(call: Call, *names: str) -> None:
    """Raises ``Invalid`` for a filter that there is not."""
    unknown = sorted(name for name in call.query if name not in names and not GROUP.fullmatch(name))
    if unknown:
        raise Invalid(f"Unknown query parameter {unknown[0][:255]!r}.")


def _uuid(text: str | None) -> str | None:
    if text is not None and not UUID.fullmatch(text):
        raise Invalid(f"Expected a UUID, and not {text[:255]!r}.")
    return text and text.lower()


def _limit(text: str | None) -> int:
    if text is None:
        return MOST_CANDIDATES
    if not re.fullmatch(r"[1-9][0-9]{0,8}", text):
        raise Invalid(f"limit must be a number above 0, and not {text[:50]!r}.")
    return min(int(text), MOST_CANDIDATES)


def _amounts(text: str) -> dict[str, int]:
    """``VCPU:1,MEMORY_MB:512``. Raises ``Invalid``."""
    found = {}
    for part in text.split(","):
        match = AMOUNT.fullmatch(part)
        if match is None:
            raise Invalid(f"resources must be CLASS:AMOUNT,CLASS:AMOUNT with amounts above 0, and not {text[:255]!r}.")
        found[match[1]] = int(match[2])
    return found


def _added(amounts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for each in amounts:
        for name, amount in each.items():
            total[name] = total.get(name, 0) + amount
    return total


def _fitting(call: Call, found: list[Provider], group: str) -> list[Provider]:
    """Those that are, hold and can do what a group of the query asks: ``resources``, ``required``, ``member_of``, ``in_tree``."""
    for text in call.query.get(f"resources{group}", []):
        found = [p for p in found if _has_room(p, _amounts(text))]
    for text in call.query.get(f"required{group}", []):
        found = [p for p in found if _has_words(set(_traits(p)), text)]
    for text in call.query.get(f"member_of{group}", []):
        found = [p for p in found if _has_words(set(p.aggregates), text)]
    if tree := _uuid(call.one(f"in_tree{group}")):
        found = [p for p in found if p.id == tree]
    return found


def _has_words(has: set[str], text: str) -> bool:
    """``A,!B`` (each), ``in:A,B`` (one of them), ``!in:A,B`` (none of them)."""
    if text.startswith(("in:", "!in:")):
        return bool(has & set(text.partition(":")[2].split(","))) is not text.startswith("!")
    return all((word.removeprefix("!") in has) is not word.startswith("!") for word in text.split(","))


def _has_room(provider: Provider, wanted: Mapping[str, int]) -> bool:
    return all(_room(provider.inventory.get(name), amount) for name, amount in wanted.items())


def _room(numbers: list[float] | None, amount: int) -> bool:
    return numbers is not None and amount <= numbers[0] and numbers[3] + amount <= _capacity(numbers)


def _capacity(numbers: list[float]) -> int:
    total, reserved, ratio, _ = numbers
    return int((total - reserved) * ratio)


# -- views


def _provider(provider: Provider, version: int) -> dict[str, Any]:
    base = f"/placement/resource_providers/{provider.id}"
    links = [{"rel": rel or "self", "href": f"{base}/{rel}" if rel else base} for rel, since in LINKS if version >= since]
    tree = {"parent_provider_uuid": None, "root_provider_uuid": provider.id} if version >= NESTED else {}
    return {"uuid": provider.id, "name": provider.name, "generation": _generation(provider), "links": links} | tree


def _generation(provider: Provider) -> int:
    """It grows when the host's row changes. Nobody can write with it."""
    return int(provider.updated_at.timestamp())


def _inventory(numbers: list[float]) -> dict[str, Any]:
    total, reserved, ratio, _ = numbers
    return {
        "total": int(total),
        "reserved": int(reserved),
        "min_unit": 1,
        "max_unit": max(1, int(total)),
        "step_size": 1,
        "allocation_ratio": float(ratio),
    }


def _traits(provider: Provider) -> list[str]:
    return sorted({*provider.traits, *([DISABLED] if provider.disabled else [])})


def _summary(provider: Provider, version: int) -> dict[str, Any]:
    held = {name: {"capacity": _capacity(n), "used": int(n[3])} for name, n in provider.inventory.items()}
    return {"resources": held, "traits": _traits(provider)} | (
        {"parent_provider_uuid": None, "root_provider_uuid": provider.id} if version >= NESTED else {}
    )


def _consumer(call: Call, claim: Claim) -> dict[str, Any]:
    if call.version < CONSUMER_PROJECT:
        return {}
    of = {"project_id": claim.project_id or "", "user_id": claim.user_id or ""} | _consumer_generation(call)
    return of | ({"consumer_type": "INSTANCE"} if call.version >= CONSUMER_TYPE else {})


def _consumer_generation(call: Call) -> dict[str, int]:
    return {"consumer_generation": 1} if call.version >= CONSUMER_GENERATION else {}


def _resource_class(name: str) -> dict[str, Any]:
    return {"name": name, "links": [{"rel": "self", "href": f"/placement/resource_classes/{name}"}]}


def _fault(status: int, message: str) -> dict[str, Any]:
    """Placement's form: a list of errors."""
    return {"errors": [{"status": status, "title": HTTPStatus(status).phrase, "detail": message}]}
