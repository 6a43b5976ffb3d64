"""Flavors: the sizes that servers come in."""

from collections.abc import Sequence
from typing import Any

from nova_async.api.render import Page
from nova_async.api.request import MARKER_MISSING, Request
from nova_async.api.schemas import TRUE_WORDS, truth
from nova_async.db import flavors
from nova_async.errors import Invalid, NotFound
from nova_async.model.flavors import Flavor

FALSE_WORDS = frozenset({"false", "0", "off", "no", "n", "f"})
LARGEST = 2**31 - 1


async def index(request: Request) -> Page:
    """The flavors that the caller may use; administrators may ask for the private ones (``is_public``)."""
    async with request.parts.database.connection() as conn:
        rows = await flavors.visible(
            conn,
            request.ctx.project_id,
            public=_is_public(request.first("is_public")) if request.is_admin else True,
            min_ram=_number(request, "minRam"),
            min_disk=_number(request, "minDisk"),
            disabled=request.is_admin,
            name=request.first("name"),
        )
    return _page(request, _sorted(rows, request.first("sort_key") or "flavorid", request.first("sort_dir") or "asc"))


async def show(request: Request) -> Flavor:
    async with request.parts.database.connection() as conn:
        return await found(request, conn, request.values["id"])


async def create(request: Request) -> Flavor:
    asked = request.body["flavor"]
    flavorid = asked.get("id")
    async with request.parts.database.transaction() as conn:
        made = await flavors.insert(
            conn,
            flavorid=request.parts.world.uuid() if flavorid is None else str(flavorid),
            name=asked["name"].strip(),
            memory_mb=int(asked["ram"]),
            vcpus=int(asked["vcpus"]),
            root_gb=int(asked["disk"]),
            ephemeral_gb=int(asked.get("OS-FLV-EXT-DATA:ephemeral", 0)),
            swap=int(asked.get("swap", 0)),
            rxtx_factor=_factor(asked.get("rxtx_factor", 1.0)),
            is_public=truth(asked.get("os-flavor-access:is_public", True)),
            description=asked.get("description"),
        )
        await request.tell(conn, made, "flavor.create")
        return made


async def update(request: Request) -> Flavor:
    """Only the description can be changed."""
    async with request.parts.database.transaction() as conn:
        changed = await flavors.describe(conn, request.values["id"], request.body["flavor"]["description"])
        if changed is None:
            raise missing(request.values["id"])
        await request.tell(conn, changed, "flavor.update")
        return changed


async def delete(request: Request) -> None:
    async with request.parts.database.transaction() as conn:
        flavor = await found(request, conn, request.values["id"])
        if not await flavors.delete(conn, flavor.flavorid):
            raise missing(flavor.flavorid)
        await request.tell(conn, flavor, "flavor.delete")


async def found(request: Request, conn: Any, flavorid: str) -> Flavor:
    """The flavor that the caller may see; raises ``NotFound`` in Nova's words."""
    flavor = await flavors.get(conn, flavorid, request.ctx.project_id, private=request.is_admin)
    if flavor is None:
        raise missing(flavorid)
    return flavor


def missing(flavorid: str) -> NotFound:
    return NotFound(f"Flavor {flavorid} could not be found.")


def _sorted(rows: list[Flavor], key: str, direction: str) -> list[Flavor]:
    """NULLs last, as PostgreSQL sorts; flavors are few enough to be sorted here."""

    def place(flavor: Flavor) -> tuple[bool, Any, int]:
        value = getattr(flavor, key, None)
        return value is None, value if value is not None else "", flavor.id

    return sorted(rows, key=place, reverse=direction == "desc")


def _page(request: Request, rows: Sequence[Flavor]) -> Page:
    marker, limit = request.first("marker"), request.limit()
    if marker is not None:
        places = [i for i, flavor in enumerate(rows) if flavor.flavorid == marker]
        if not places:
            raise Invalid(MARKER_MISSING.format(marker))
        rows = rows[places[0] + 1 :]
    rows = rows[:limit]
    return Page(rows, rows[-1].flavorid if rows and len(rows) == limit else None)


def _is_public(text: str | None) -> bool | None:
    if text is None:
        return True
    word = text.strip().lower()
    if word == "none":
        return None
    if word not in TRUE_WORDS | FALSE_WORDS:
        raise Invalid(f"Invalid is_public filter [{text}]")
    return word in TRUE_WORDS


def _number(request: Request, key: str) -> int | None:
    text = request.first(key)
    if text is None:
        return None
    try:
        number = int(text) if len(text) < 18 else LARGEST
    except ValueError:
        raise Invalid(f"Invalid {key} filter [{text}]") from None
    return number


def _factor(value: float | str) -> float:
    """Raises ``Invalid`` for a factor that is not above zero."""
    factor = float(value)
    if factor <= 0:
        raise Invalid("Invalid input received: 'rxtx_factor' argument must be a float between 0 and 3.40282e+38")
    return factor
