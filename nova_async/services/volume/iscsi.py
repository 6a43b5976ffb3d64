"""A volume's file as an iSCSI target of its own, for QEMU's own initiator on one host: that host's name, and the attachment's password.

The password (CHAP, RFC 7143) opens the target and encrypts nothing: what is read and written is in clear on the wire.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nova_async import tgt
from nova_async.db.volumes import ExportRow, VolumeRow
from nova_async.errors import Invalid, Unsupported
from nova_async.services.volume.stores import GIB, Store
from nova_async.storage_daemons import StorageDaemons

NAMES = "iqn.2010-10.org.openstack"
INITIATOR = re.compile(r"iqn\.[a-z0-9.:-]{1,219}")  # RFC 7143, 4.2.7


class IscsiServer:
    """``exports.Server`` by ``tgtd``."""

    def __init__(self, store: Store, daemons: StorageDaemons) -> None:
        self._store, self._daemons = store, daemons

    def peer(self, connector: Mapping[str, Any]) -> tuple[str, str | None]:
        name = str(connector.get("initiator", ""))
        if not INITIATOR.fullmatch(name):
            raise Invalid("Volumes are handed out by iSCSI, and the connector has no initiator by whose name the host asks for them.")
        return name, None

    def way(self, row: ExportRow) -> tuple[str, dict[str, Any]]:
        host = f"[{row.address}]" if ":" in row.address else row.address
        target = {"target_portal": f"{host}:{row.port}", "target_iqn": f"{NAMES}:{row.attachment_id}", "target_lun": tgt.LUN}
        login = {"auth_method": "CHAP", "auth_username": row.attachment_id, "auth_password": password(row)}
        return "iscsi", {**target, **login, "error_policy": "stop"}

    async def shown(self, rows: Sequence[ExportRow]) -> Mapping[str, bytes]:
        return {}

    async def serve(self, row: ExportRow, shown: Mapping[str, bytes]) -> bool:
        path = str(self._store.path(row.volume_id))
        if "," in path:
            raise Unsupported("tgtd opens no file that has a comma in its path; see volume.store_dir.")
        target = tgt.Target(
            name=f"{NAMES}:{row.attachment_id}",
            port=row.port,
            file=path,
            size=row.size * GIB,
            read_only=row.mode == "ro",
            initiator=row.peer,
            user=row.attachment_id,
            password=password(row),
        )
        return await self._daemons.ensure(row.attachment_id, tgt.arguments(row.address, row.port), {**shown, **tgt.settings(target)})

    async def copy(self, row: ExportRow, volume: VolumeRow, target: Path) -> bool:
        """``tgtd`` copies nothing."""
        return False


def password(row: ExportRow) -> str:
    """Of the attachment's account, 128 bits in hexadecimal; another one for each host that the attachment goes to."""
    return hashlib.sha256(f"nova-async volume target 1 {row.secret or ''} {row.peer}".encode()).hexdigest()[:32]
