"""What a volume type says of encryption, in Cinder's words, and what of it this service and its hosts can do: LUKS, opened by QEMU."""

from typing import Any

from nova_async.context import Context
from nova_async.db import Connection, Database
from nova_async.db import volume_types as rows
from nova_async.db.volume_types import EncryptionRow
from nova_async.errors import Invalid, NotFound
from nova_async.services.volume import rules
from nova_async.services.volume.records import BITS, LUKS
from nova_async.services.volume.types import find
from nova_async.world import World

POLICY = "volume_extension:volume_type_encryption"
CIPHER = "aes-xts-plain64"


class Encryptions:
    """Of volume types."""

    def __init__(self, database: Database, world: World) -> None:
        self._database, self._world = database, world

    async def get(self, ctx: Context, type_id: str) -> EncryptionRow | None:
        rules.admin(ctx, f"{POLICY}:get")
        async with self._database.connection() as conn:
            return await rows.encryption(conn, (await find(conn, ctx, type_id)).id)

    async def of(self, type_id: str) -> EncryptionRow | None:
        """For whoever has a volume of the type."""
        async with self._database.connection() as conn:
            return await rows.encryption(conn, type_id)

    async def create(self, ctx: Context, type_id: str, asked: dict[str, Any]) -> EncryptionRow:
        rules.admin(ctx, f"{POLICY}:create")
        async with self._database.transaction() as conn:
            found = await self._unused(conn, ctx, type_id, "create")
            if await rows.encryption(conn, found) is not None:
                raise Invalid(f"Volume type encryption for type {found} already exists.")
            row = EncryptionRow(id=self._world.uuid(), type_id=found, created_at=self._world.now(), updated_at=None, **asked)
            await rows.put_encryption(conn, row)
        return row

    async def change(self, ctx: Context, type_id: str, asked: dict[str, Any]) -> None:
        rules.admin(ctx, f"{POLICY}:update")
        async with self._database.transaction() as conn:
            found = await self._unused(conn, ctx, type_id, "update")
            row = await rows.encryption(conn, found)
            if row is None:
                raise _none(found)
            for name, value in asked.items():
                setattr(row, name, value)
            row.updated_at = self._world.now()
            await rows.put_encryption(conn, row)

    async def delete(self, ctx: Context, type_id: str) -> None:
        rules.admin(ctx, f"{POLICY}:delete")
        async with self._database.transaction() as conn:
            found = await self._unused(conn, ctx, type_id, "delete")
            if not await rows.delete_encryption(conn, found):
                raise _none(found)

    async def _unused(self, conn: Connection, ctx: Context, type_id: str, what: str) -> str:
        """The type's id; no volume is made of it until the transaction ends. Raises ``Invalid`` where there are any."""
        found = (await find(conn, ctx, type_id)).id
        if await rows.is_used(conn, found):
            raise Invalid(f"Cannot {what} encryption specs. Volume type in use.")
        return found


def bits(row: EncryptionRow) -> int:
    """Of the AES key of a new volume. Raises ``Invalid`` for what hosts of this cloud could not open."""
    wrong = ""
    if row.provider not in LUKS:
        wrong = f"the provider {row.provider} (luks is one)"
    elif row.control_location != "front-end":
        wrong = f"encryption at the {row.control_location} (front-end: hosts do it)"
    elif row.cipher not in (None, "", CIPHER):
        wrong = f"the cipher {row.cipher} ({CIPHER} is one)"
    elif row.key_size not in BITS:
        wrong = f"keys of {row.key_size} bits ({', '.join(str(size) for size in BITS if size)} are some)"
    if wrong:
        raise Invalid(f"Invalid volume type: volumes cannot be made of type {row.type_id}: this service does not have {wrong}.")
    return BITS[row.key_size]


def _none(type_id: str) -> NotFound:
    return NotFound(f"Volume type encryption for type {type_id} does not exist.")
