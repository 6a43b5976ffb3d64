"""What flavors say beyond sizes (/flavors/{id}/os-extra_specs)."""

from typing import Any

from nova_async.api import extra_specs
from nova_async.api.handlers.flavors import found, missing
from nova_async.api.request import Request
from nova_async.api.versions import V
from nova_async.db import flavors
from nova_async.errors import Invalid, NotFound


async def index(request: Request) -> dict[str, str]:
    async with request.parts.database.connection() as conn:
        return (await found(request, conn, request.values["flavor_id"])).extra_specs


async def show(request: Request) -> dict[str, str]:
    name = request.values["id"]
    specs = await index(request)
    if name not in specs:
        raise nothing(request)
    return {name: specs[name]}


async def create(request: Request) -> dict[str, str]:
    """Add extra specs; those that exist change."""
    return await _put(request, _checked(request, request.body["extra_specs"]))


async def update(request: Request) -> dict[str, str]:
    specs = _checked(request, request.body)
    if request.values["id"] not in specs:
        raise Invalid("Request body and URI mismatch")
    return await _put(request, specs)


async def delete(request: Request) -> None:
    async with request.parts.database.transaction() as conn:
        flavor = await found(request, conn, request.values["flavor_id"])
        if not await flavors.remove_extra_spec(conn, flavor.id, request.values["id"]):
            raise nothing(request)
        await request.tell(conn, await found(request, conn, flavor.flavorid), "flavor.update")


def nothing(request: Request) -> NotFound:
    return NotFound(f"Flavor {request.values['flavor_id']} has no extra specs with key {request.values['id']}.")


def _checked(request: Request, specs: dict[str, Any]) -> dict[str, str]:
    """Values as texts; since 2.86 only known names with values that they take."""
    texts = {name: value if isinstance(value, str) else str(value) for name, value in specs.items()}
    if request.has(V.EXTRA_SPECS_CHECKED):
        for name, value in texts.items():
            extra_specs.check(name, value)
    return texts


async def _put(request: Request, specs: dict[str, str]) -> dict[str, str]:
    async with request.parts.database.transaction() as conn:
        flavor = await found(request, conn, request.values["flavor_id"])
        if not await flavors.put_extra_specs(conn, flavor.id, specs):
            raise missing(flavor.flavorid)
        await request.tell(conn, await found(request, conn, flavor.flavorid), "flavor.update")
    return specs
