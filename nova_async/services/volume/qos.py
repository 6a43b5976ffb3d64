"""Limits of volumes by their type: Cinder's QoS specs. Those for ``front-end`` or ``both`` go to the host, whose QEMU keeps them."""

import re
from collections.abc import Callable

from nova_async.context import Context
from nova_async.db import Connection, Database
from nova_async.db import volume_qos as rows
from nova_async.db.volume_qos import QosRow, TypeName
from nova_async.errors import Invalid, NotFound
from nova_async.services.volume import rules
from nova_async.services.volume.types import find
from nova_async.world import World

POLICY = "volume_extension:qos_specs_manage"
CONSUMERS = ("front-end", "back-end", "both")
LIMITS = ("read_iops_sec", "read_bytes_sec", "write_iops_sec", "write_bytes_sec", "total_iops_sec", "total_bytes_sec")
NUMBERS = frozenset({"size_iops_sec", *(name + end for name in LIMITS for end in ("", "_max", "_per_gb", "_per_gb_min"))})


class QosSpecs:
    def __init__(self, database: Database, world: World) -> None:
        self._database, self._world = database, world

    async def listing(self, ctx: Context) -> list[QosRow]:
        rules.admin(ctx, f"{POLICY}:get_all")
        async with self._database.connection() as conn:
            return await rows.all(conn)

    async def get(self, ctx: Context, qos_id: str) -> QosRow:
        rules.admin(ctx, f"{POLICY}:get")
        async with self._database.connection() as conn:
            found = await rows.all(conn, [rules.well_formed("QoS specs", qos_id)])
        if not found:
            raise _none(qos_id)
        return found[0]

    async def create(self, ctx: Context, name: str, consumer: str, specs: dict[str, str]) -> QosRow:
        rules.admin(ctx, f"{POLICY}:create")
        row = QosRow(id=self._world.uuid(), name=name, consumer=_consumer(consumer), specs=_checked(specs))
        async with self._database.connection() as conn:
            await rows.insert(conn, row)
        return row

    async def change(self, ctx: Context, qos_id: str, more: dict[str, str]) -> None:
        """``consumer`` among them is the specs' consumer."""
        rules.admin(ctx, f"{POLICY}:update")

        def changed(row: QosRow) -> None:
            specs = dict(more)
            row.consumer = _consumer(specs.pop("consumer", row.consumer))
            row.specs = _checked(row.specs | specs)

        await self._change(qos_id, changed)

    async def remove_keys(self, ctx: Context, qos_id: str, keys: list[str]) -> None:
        rules.admin(ctx, f"{POLICY}:update")

        def changed(row: QosRow) -> None:
            if missing := [key for key in keys if key not in row.specs]:
                raise NotFound(f"QoS spec {row.id} has no spec with key {missing[0][:255]}.")
            row.specs = {key: value for key, value in row.specs.items() if key not in keys}

        await self._change(qos_id, changed)

    async def delete(self, ctx: Context, qos_id: str, *, force: bool) -> None:
        """``force``: types that have it lose it. Raises ``Invalid`` where there are any and it is not forced."""
        rules.admin(ctx, f"{POLICY}:delete")
        async with self._database.transaction() as conn:
            row = await self._locked(conn, qos_id)
            if force:
                await rows.disassociate_all(conn, row.id)
            elif await rows.types(conn, row.id):
                raise Invalid(f"QoS Specs {row.id} is still associated with entities.")
            await rows.delete(conn, row.id)

    async def types(self, ctx: Context, qos_id: str) -> list[TypeName]:
        row = await self.get(ctx, qos_id)
        async with self._database.connection() as conn:
            return await rows.types(conn, row.id)

    async def associate(self, ctx: Context, qos_id: str, type_id: str) -> None:
        """Volumes that are attached from now on have its limits. Raises ``Invalid`` for a type that has others."""
        rules.admin(ctx, f"{POLICY}:update")
        async with self._database.transaction() as conn:
            row, kind = await self._locked(conn, qos_id), await find(conn, ctx, type_id)
            if kind.qos_specs_id not in (None, row.id):
                raise Invalid(f"Invalid volume type: type {kind.id} is already associated with another qos specs: {kind.qos_specs_id}.")
            await rows.associate(conn, kind.id, row.id)

    async def disassociate(self, ctx: Context, qos_id: str, type_id: str | None) -> None:
        """``type_id`` None: all types."""
        rules.admin(ctx, f"{POLICY}:update")
        async with self._database.transaction() as conn:
            row = await self._locked(conn, qos_id)
            if type_id is None:
                await rows.disassociate_all(conn, row.id)
            elif (kind := await find(conn, ctx, type_id)).qos_specs_id == row.id:
                await rows.associate(conn, kind.id, None)

    async def told(self, type_id: str, gib: int) -> dict[str, str] | None:
        """What a host is to keep for a volume of this type and size."""
        async with self._database.connection() as conn:
            row = await rows.of_type(conn, type_id)
        return by_size(row.specs, gib) if row is not None and row.consumer != "back-end" else None

    async def _change(self, qos_id: str, changed: Callable[[QosRow], None]) -> None:
        async with self._database.transaction() as conn:
            row = await self._locked(conn, qos_id)
            changed(row)
            await rows.change(conn, row)

    async def _locked(self, conn: Connection, qos_id: str) -> QosRow:
        row = await rows.lock(conn, rules.well_formed("QoS specs", qos_id))
        if row is None:
            raise _none(qos_id)
        return row


def by_size(specs: dict[str, str], gib: int) -> dict[str, str]:
    """With limits ``_per_gb`` made limits of a volume of this size: no less than ``_per_gb_min``, no more than ``_max``. As Cinder does."""
    made = dict(specs)
    for name in LIMITS:
        least = int(made.pop(f"{name}_per_gb_min", 0))
        if (each := made.pop(f"{name}_per_gb", None)) is not None:
            limit = max(least, int(each) * gib)
            made[name] = str(min(limit, int(made.pop(f"{name}_max", limit))))
    return made


def _checked(specs: dict[str, str]) -> dict[str, str]:
    """Raises ``Invalid`` for what a host could not keep."""
    for name, value in specs.items():
        if name in NUMBERS and not re.fullmatch("[0-9]{1,18}", value):
            raise Invalid(f"Invalid input for field/attribute {name}. Value: {value[:64]}. A whole number is expected.")
    return specs


def _consumer(word: str) -> str:
    if word not in CONSUMERS:
        raise Invalid(f"Invalid input for field/attribute consumer. Value: {word[:64]}. It is one of {', '.join(CONSUMERS)}.")
    return word


def _none(qos_id: str) -> NotFound:
    return NotFound(f"No such qos_specs {qos_id[:255]}.")
