"""Offers of volumes to other projects."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from nova_async.db.database import Connection
from nova_async.db.query import Query


class TransferRow(msgspec.Struct, kw_only=True):
    """``key_digest``: SHA-256 of the key that accepts it. ``project_id``: who gives."""

    id: str
    volume_id: str
    name: str | None
    key_digest: bytes
    no_snapshots: bool
    created_at: datetime
    project_id: str


_insert = Query[Any]("volume_transfers", "insert")
_transfers = Query("volume_transfers", "transfers", TransferRow)
_delete = Query[Any]("volume_transfers", "delete")
_hand_over = Query[Any]("volume_transfers", "hand_over")
_hand_over_snapshots = Query[Any]("volume_transfers", "hand_over_snapshots")


async def insert(conn: Connection, transfer_id: str, volume_id: str, name: str | None, key_digest: bytes, *, no_snapshots: bool) -> None:
    """In place of an offer that is left from before the volume's status was set by hand."""
    await _insert.run(conn, transfer_id, volume_id, name, key_digest, no_snapshots)


async def transfers(conn: Connection, project_id: str | None, ids: Sequence[str] | None = None) -> list[TransferRow]:
    """``project_id`` None: of all."""
    return await _transfers.all(conn, project_id, ids)


async def get(conn: Connection, transfer_id: str) -> TransferRow | None:
    found = await _transfers.all(conn, None, [transfer_id])
    return found[0] if found else None


async def delete(conn: Connection, transfer_id: str) -> None:
    await _delete.run(conn, transfer_id)


async def hand_over(conn: Connection, volume_id: str, snapshots: Sequence[str], project_id: str, user_id: str) -> None:
    """The volume, ``available`` again, and these of its snapshots belong to the other project from now on."""
    await _hand_over.run(conn, volume_id, project_id, user_id)
    await _hand_over_snapshots.run(conn, snapshots, project_id, user_id)
