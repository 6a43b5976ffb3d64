"""Volume types."""

import hashlib
import uuid
from typing import Any

from nova_async.context import Context
from nova_async.db import Connection, Database, changes
from nova_async.db import volume_types as rows
from nova_async.db.volume_types import TypeRow
from nova_async.errors import Forbidden, NotFound
from nova_async.services.volume import rules
from nova_async.world import World

DEFAULT_NAME = "files"


class Types:
    def __init__(self, database: Database, world: World) -> None:
        self._database, self._world = database, world

    async def bootstrap(self) -> None:
        """The same id in every process, so that racing processes make one row."""
        type_id = str(uuid.UUID(bytes=hashlib.sha256(b"nova_async/volume-type").digest()[:16], version=4))
        async with self._database.connection() as conn:
            await rows.ensure_default(conn, type_id, DEFAULT_NAME)

    async def listing(self, ctx: Context) -> list[TypeRow]:
        async with self._database.connection() as conn:
            return await rows.types(conn, rules.scope(ctx))

    async def get(self, ctx: Context, name: str) -> TypeRow:
        """By id or, where it is none, by name; ``default`` is the default one."""
        async with self._database.connection() as conn:
            return await find(conn, ctx, name)

    async def create(self, ctx: Context, asked: dict[str, Any]) -> TypeRow:
        rules.admin(ctx, "volume_extension:types_manage")
        row = TypeRow(id=self._world.uuid(), is_default=False, projects=[], **asked)
        async with self._database.connection() as conn:
            await rows.insert_type(conn, row)
        return row

    async def change(self, ctx: Context, type_id: str, **fields: Any) -> TypeRow:
        """``extra_specs`` and ``projects`` may be functions of what they were."""
        rules.admin(ctx, "volume_extension:types_manage")
        async with self._database.transaction() as conn:
            await changes.alone(conn, "volume type", (await find(conn, ctx, type_id)).id)
            row = await find(conn, ctx, type_id)
            for name, value in fields.items():
                setattr(row, name, value(getattr(row, name)) if callable(value) else value)
            await rows.change_type(conn, row)
        return row

    async def delete(self, ctx: Context, type_id: str) -> None:
        rules.admin(ctx, "volume_extension:types_manage")
        async with self._database.transaction() as conn:
            row = await find(conn, ctx, type_id)
            if row.is_default:
                raise Forbidden(f"The volume type {row.name} is the default one and cannot be deleted.")
            await rows.delete_type(conn, row.id)


async def find(conn: Connection, ctx: Context, name: str | None) -> TypeRow:
    """The type of this id or name; None: the default one. Raises ``NotFound``."""
    if name is None or name == "default":
        return next(row for row in await rows.types(conn, None) if row.is_default)
    by_id = bool(rules.UUID.fullmatch(name))
    found = await rows.types(conn, rules.scope(ctx), [name.lower()] if by_id else None, None if by_id else [name])
    if not found:
        raise NotFound(f"Volume type {name[:255]} could not be found.")
    return found[0]
