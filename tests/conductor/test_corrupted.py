"""What servers refer to is spoilt, and their host's worker starts anew: nobody but those servers notices."""

from pathlib import Path
from typing import Any

from nova_async.db import Database
from tests.cloud import cloud

# a column of the server's row, and what stands there in the end: nothing that any part of ours would write
HARMLESS = {"image", "group", "hints"}  # not looked at when a guest that is there is started
CORRUPTED: dict[str, tuple[str, Any]] = {
    "port": ("ports", [{"id": 1, "vnic_type": "remote-managed"}]),
    "port of another kind": ("ports", "all of them"),
    "flavor": ("flavor", {}),
    "flavor of words": ("flavor", {"vcpus": "many", "memory_mb": None, "extra_specs": {"hw:numa_nodes": "x", "resources:VCPU": "y"}}),
    "image": ("system_metadata", {"image": {"id": "70a599e0-31e7-49b7-b260-868f441e862b", "disk_format": None}}),
    "image properties": ("image_properties", {"hw_numa_nodes": "x", "os_shutdown_timeout": [], "traits": {}}),
    "volume": ("block_devices", [{"kind": "volume", "attachment_id": "gone"}]),
    "group": ("scheduler_hints", {"group": "11111111-1111-4111-8111-111111111111"}),
    "hints": ("scheduler_hints", {"same_host": {}, "group": []}),
}


async def test_a_worker_starts_whatever_its_servers_refer_to_and_only_they_are_marked(database: Database, tmp_path: Path) -> None:
    """SEC-065"""
    async with cloud(database, tmp_path, hosts=1) as made:
        healthy = await made.boot()
        spoilt = {what: await made.boot() for what in CORRUPTED}
        await made.settle()
        for what, (column, value) in CORRUPTED.items():
            async with database.connection() as conn:
                await conn.execute(f"UPDATE instances SET {column} = $2 WHERE uuid = $1", spoilt[what], value)
        await made.stop_host("host1")
        await made.start_host("host1")
        guests = {guest.instance_id for guest in await made.drivers["host1"].guests()}
        assert guests == {healthy, *spoilt.values()}
        await made.conductor.desk.refresh()
        await made.conductor.guests()
        for server in (healthy, *spoilt.values()):
            await made.begin("reboot", server, type="HARD")
        another = await made.boot()
        await made.settle()
        for what, server in spoilt.items():
            row = await made.server(server)
            assert (row.vm_state, row.task_state, row.fault is None) == ("active", None, what in HARMLESS), (what, row.fault)
        for server in (healthy, another):
            row = await made.server(server)
            assert (row.vm_state, row.task_state, row.fault) == ("active", None, None)
