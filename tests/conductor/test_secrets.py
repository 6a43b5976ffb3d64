"""SEC-066, SEC-067: what fails behind an operation is told to administrators, and nothing secret to anybody."""

import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nova_async.db import Database, workflows
from nova_async.errors import Error
from nova_async.sealed import seal
from tests import fuse
from tests.cloud import Cloud, cloud, device
from tests.fuse import FILE, PASSWORD, USER_DATA, output

__all__ = ["output"]
TOKEN = "gAAAAAB-t0k3n-of-a-service"
CANARIES = (TOKEN, *fuse.CANARIES)
INSIDE = "qemu-img: /var/lib/nova/instances/one: rbd:pool/disk:key=s3cr3t on compute7"


@pytest.fixture
async def one(database: Database, tmp_path: Path, output: io.StringIO) -> AsyncIterator[Cloud]:
    async with cloud(database, tmp_path, hosts=1) as made:
        yield made


async def a_server(made: Cloud) -> str:
    """The row of one with all that may be secret."""
    injected = [{"path": "/etc/motd", "contents": FILE}]
    return await made.insert(user_data=USER_DATA, injected_files=injected, config_drive=True, block_devices=[device()])


async def a_life(made: Cloud, server: str) -> None:
    """It is built, gets a password, starts anew and goes, as far as that succeeds."""
    await made.begin("create", server)
    await made.settle()
    if (await made.server(server)).vm_state == "active":
        await made.begin("changePassword", server, sealed=seal(await made.sealing_key("host1"), PASSWORD))
        await made.settle()
        await made.begin("reboot", server, type="HARD")
        await made.settle()
    await made.begin("delete", server)
    await made.settle()


async def test_an_operation_that_fails_at_any_call_keeps_its_secrets(one: Cloud, output: io.StringIO) -> None:
    own = fuse.Fuse()
    own.wire(one.drivers["host1"], fuse.call_of)
    for service in (one.images, one.networks, one.volumes):
        own.wire(service, fuse.request_with(X_Auth_Token=TOKEN))
    number, blown = 0, list[str]()
    while True:
        number += 1
        server = await a_server(one)
        own.set(number)
        await a_life(one, server)
        own.off()
        if not own.blown:
            break
        blown.append(own.blown)

    assert {"FakeDriver.spawn", "FakeDriver.set_password", "FakeDriver.destroy"} <= set(blown), blown
    assert any(call.startswith("BuiltinNetworks.") for call in blown), blown
    assert any(call.startswith("BuiltinVolumes.") for call in blown), blown
    assert "command.crashed" in output.getvalue()
    async with one.database.connection() as conn:
        secrets = [row["secret"] for row in await conn.fetch("SELECT secret FROM volume_attachments WHERE secret IS NOT NULL")]
        told = await conn.fetchval("SELECT string_agg(concat(error, history, results), ' ') FROM workflows")
        facts = await conn.fetchval("SELECT string_agg(facts::text, ' ') FROM notifications")
        faults = await conn.fetchval("SELECT string_agg(fault::text, ' ') FROM instances")
    texts = {"log": output.getvalue(), "operations": told, "notifications": facts, "faults": faults}
    assert faults
    assert [(where, canary) for where, text in texts.items() for canary in (*CANARIES, *secrets) if canary in (text or "")] == []


@pytest.mark.parametrize("error", [RuntimeError(INSIDE), OSError(5, INSIDE), Error("The disk cannot be made.", detail=INSIDE)], ids=repr)
async def test_users_learn_nothing_of_the_inside_of_what_failed(one: Cloud, error: Exception) -> None:
    """SEC-067: neither the words of what went wrong nor on which host; both are in the details, which administrators see."""
    one.faults["host1"].fail("spawn", None, error)
    server = await one.boot()
    await one.settle()
    row = await one.server(server)
    assert row.fault is not None
    public = row.fault["message"]
    assert "The disk cannot be made." in public or "The host met an unexpected error; its log names it." in public
    assert not any(word in public for word in ("s3cr3t", "/var/lib", "compute7", "host1")), public
    assert "host1" in row.fault["details"]
    async with one.database.connection() as conn:
        [done] = await workflows.of_subject(conn, server)
    assert done.request_id == "req-test"
    failures = [event for event in done.history if event["result"] == "Error"]
    assert failures
    assert not any("s3cr3t" in event["message"] for event in failures)
    assert any("s3cr3t" in event.get("traceback", "") for event in failures), "administrators see why"


async def test_no_valid_host_names_no_host_to_users(one: Cloud) -> None:
    """SEC-067"""
    server = await one.boot(pinned_zone="mars")
    await one.settle()
    fault = (await one.server(server)).fault
    assert fault is not None
    assert fault["message"] == "No valid host was found. Of 1 host, AvailabilityZone refused 1 (it is in nova, not mars)."
    assert fault["details"] == "host1: AvailabilityZone: it is in nova, not mars"


async def test_an_undo_that_crashes_says_so_in_general_words(one: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """SEC-067"""
    one.faults["host1"].fail("spawn", 1, Error("No."))
    unbind = one.networks.unbind

    async def crash(*_: object, **__: object) -> None:
        monkeypatch.setattr(one.networks, "unbind", unbind)  # only once
        raise RuntimeError(INSIDE)

    monkeypatch.setattr(one.networks, "unbind", crash)
    server = await one.boot()
    await one.settle()
    async with one.database.connection() as conn:
        [done] = await workflows.of_subject(conn, server)
    [crashed] = [event for event in done.history if event["event"].endswith("undo_bind_ports") and event["result"] == "Error"]
    assert crashed["message"] == "An unknown error occurred."
    assert INSIDE in crashed["traceback"]
