"""How much of volumes a project may have, in all and of single types.

Limits of single types are kept under the type's id and told under its name (``volumes_fast``), as Cinder tells them.
"""

from collections.abc import Iterable

from nova_async.config import Config
from nova_async.context import Context
from nova_async.db import Connection, Database, volumes
from nova_async.db import volume_types as rows
from nova_async.db.volume_types import TypeRow
from nova_async.db.volumes import Usage, VolumeRow
from nova_async.errors import Invalid
from nova_async.services.volume import rules

CLASS = "class:default"
COUNTED = ("volumes", "snapshots", "gigabytes")  # what is counted, in all and of each type
NOTHING = Usage(volumes=0, snapshots=0, gigabytes=0)


class Quotas:
    """The configuration's defaults under those of the class under those of the project."""

    def __init__(self, database: Database, config: Config) -> None:
        self._database = database
        options = config.volume
        self.defaults = dict.fromkeys(rules.LIMITS, -1) | {
            "volumes": options.quota_volumes,
            "snapshots": options.quota_snapshots,
            "gigabytes": options.quota_gigabytes,
        }

    async def told(self, conn: Connection, ctx: Context, project_id: str | None) -> dict[str, int]:
        """All limits, with those of the types that the caller may see. ``project_id`` None: those of the class."""
        limits = await self._of(conn, project_id)
        named = {told: limits.get(kept, -1) for told, kept in _of_types(await rows.types(conn, rules.scope(ctx))).items()}
        return {name: limits[name] for name in rules.LIMITS} | named

    async def used(self, conn: Connection, ctx: Context, project_id: str) -> dict[str, int]:
        """What is counted, under the names of the limits."""
        whole = await volumes.usage(conn, project_id)
        by_type = await volumes.usage_by_type(conn, project_id)
        used = {name: int(getattr(whole, name)) for name in COUNTED}
        for kind in await rows.types(conn, rules.scope(ctx)):
            used |= {f"{name}_{kind.name}": int(getattr(by_type.get(kind.id, NOTHING), name)) for name in COUNTED}
        return used

    async def check(self, conn: Connection, project_id: str, kind: TypeRow | VolumeRow, used: Usage, **more: int) -> None:
        """Whether there is room for ``more`` of a type (a volume's, where one is given). Raises ``TooLarge``; see ``rules.check_room``."""
        found = await self._of(conn, project_id)
        rules.check_room(found, used, "", **more)
        await _check_type(conn, project_id, kind, found, **more)

    async def check_type(self, conn: Connection, project_id: str, kind: TypeRow, **more: int) -> None:
        """As ``check``, the type's limits alone."""
        await _check_type(conn, project_id, kind, await self._of(conn, project_id), **more)

    async def put(self, ctx: Context, project_id: str | None, limits: dict[str, int]) -> dict[str, int]:
        """Limits of types that there are not are taken where they ask for none: clients send back what they were told."""
        rules.admin(ctx, "volume_extension:quotas:update")
        async with self._database.transaction() as conn:
            kept = dict.fromkeys(rules.LIMITS) | _of_types(await rows.types(conn, None))
            if unknown := [name for name, limit in limits.items() if name not in kept and not (limit == -1 and name.startswith(OF_TYPE))]:
                raise Invalid(f"Bad key(s) in quota set: {', '.join(sorted(unknown))[:500]}")
            for name in kept.keys() & limits.keys():
                await rows.set_quota(conn, project_id or CLASS, kept[name] or name, limits[name])
            return await self.told(conn, ctx, project_id)

    async def reset(self, ctx: Context, project_id: str) -> None:
        rules.admin(ctx, "volume_extension:quotas:delete")
        async with self._database.connection() as conn:
            await rows.delete_quotas(conn, project_id)

    async def _of(self, conn: Connection, project_id: str | None) -> dict[str, int]:
        """As they are kept."""
        limits = self.defaults | await rows.quotas(conn, CLASS)
        return limits | (await rows.quotas(conn, project_id) if project_id else {})


OF_TYPE = tuple(f"{name}_" for name in COUNTED)  # how the names of limits of single types begin


def _kept(name: str, type_id: str) -> str:
    return f"{name}_{type_id}"


def _of_types(types: Iterable[TypeRow]) -> dict[str, str]:
    """The names of all limits of these types, and under which each is kept."""
    return {f"{name}_{kind.name}": _kept(name, kind.id) for kind in types for name in COUNTED}


async def _check_type(conn: Connection, project_id: str, kind: TypeRow | VolumeRow, found: dict[str, int], **more: int) -> None:
    """``found``: limits as they are kept."""
    type_id, name = (kind.id, kind.name) if isinstance(kind, TypeRow) else (kind.type_id, kind.type_name)
    limits = dict.fromkeys(rules.LIMITS, -1) | {each: found.get(_kept(each, type_id), -1) for each in COUNTED}
    if any(limit >= 0 for limit in limits.values()):
        used = (await volumes.usage_by_type(conn, project_id)).get(type_id, NOTHING)
        rules.check_room(limits, used, f"_{name}", **more)
