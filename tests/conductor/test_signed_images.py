"""Servers are made of images whose signer is known, or not at all. Hosts check the bytes (``tests/virt/test_image_cache.py``)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from nova_async.context import service_context
from nova_async.db import Database, instances
from nova_async.model.guests import GuestSpec, ImageRef, Proof
from nova_async.services.image.blank import blank_qcow2
from tests.cloud import Cloud, cloud
from tests.image.signing import Signer, family

CTX = service_context("req-image")
BYTES = blank_qcow2(1)
VERIFY: dict[str, Any] = {"image__verify_signatures": True}
VALIDATE: dict[str, Any] = VERIFY | {"image__validate_certificates": True}


class Seen:
    """What hosts are told of images."""

    def __init__(self, made: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
        self.proofs: list[Proof | None] = []
        for driver in made.drivers.values():
            for operation in ("spawn", "rebuild", "rescue"):
                monkeypatch.setattr(driver, operation, self._noted(getattr(driver, operation)))

    def _noted(self, operation: Any) -> Any:
        async def call(guest: GuestSpec, generation: int, *more: Any, **words: Any) -> None:
            image = next((each for each in more if isinstance(each, ImageRef)), guest.image)
            self.proofs.append(image.proof if image else None)
            await operation(guest, generation, *more, **words)

        return call


@asynccontextmanager
async def one(database: Database, state: Path, **options: Any) -> AsyncIterator[Cloud]:
    async with cloud(database, state, hosts=1, **options) as made:
        yield made
        assert await made.violations() == []


def folder(made: Cloud) -> Path:
    return made.config.image_certificates_dir


async def image(made: Cloud, name: str, properties: dict[str, str]) -> str:
    return (await made.images.ensure_image(CTX, name, await _file(made), "qcow2", properties)).id


async def _file(made: Cloud) -> Path:
    path = made.config.state / "bytes.qcow2"
    path.write_bytes(BYTES)
    return path


async def booted(made: Cloud, image_id: str, **columns: Any) -> instances.Instance:
    server = await made.boot(image_id=image_id, **columns)
    await made.settle()
    return await made.server(server)


async def test_a_server_of_a_signed_image_is_made_and_its_host_told_how_it_was_signed(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with one(database, tmp_path, **VERIFY) as made:
        signer, seen = Signer("signer").put(folder(made)), Seen(made, monkeypatch)
        properties = signer.signed(BYTES)
        server = await booted(made, await image(made, "signed", properties))
        assert (server.vm_state, server.fault) == ("active", None)
        await made.begin("rescue", server.uuid)
        await made.settle()
        await made.begin("unrescue", server.uuid)
        await made.settle()
        await made.begin("rebuild", server.uuid, image_id=server.image_id, preserve_ephemeral=False)
        await made.settle()
        assert (await made.server(server.uuid)).vm_state == "active"
        assert seen.proofs == [Proof(properties=properties, certificate=signer.pem.decode())] * 3


async def test_without_the_option_nobody_asks_who_signed_an_image(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with one(database, tmp_path) as made:
        seen = Seen(made, monkeypatch)
        assert (await booted(made, made.image_id)).vm_state == "active"
        assert seen.proofs == [None]


async def test_a_server_of_an_unsigned_image_is_not_made_and_says_why(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with one(database, tmp_path, **VERIFY) as made:
        seen = Seen(made, monkeypatch)
        server = await booted(made, made.image_id)
        assert (server.vm_state, server.fault["code"], seen.proofs) == ("error", 400, [])
        assert server.fault["message"] == (
            f"Image {made.image_id} may not be used: servers are made of signed images only, and it lacks img_signature, "
            "img_signature_certificate_uuid, img_signature_hash_method, img_signature_key_type."
        )


async def test_a_running_server_refuses_an_unsigned_image_and_stays_as_it_is(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with one(database, tmp_path, **VERIFY) as made:
        signer = Signer("signer").put(folder(made))
        server = await booted(made, await image(made, "signed", signer.signed(BYTES)))
        seen, was = Seen(made, monkeypatch), {"image_id": server.image_id, "system_metadata": server.system_metadata}
        async with made.database.connection() as conn:
            await instances.change(conn, server.uuid, image_id=made.image_id, system_metadata={})
        await made.begin("rebuild", server.uuid, image_id=made.image_id, preserve_ephemeral=False, was=was)
        await made.settle()
        after = await made.server(server.uuid)
        assert (after.vm_state, after.task_state, after.image_id) == ("active", None, server.image_id)
        assert "signed images only" in after.fault["message"]
        await made.begin("rescue", server.uuid, image_id=made.image_id)
        await made.settle()
        after = await made.server(server.uuid)
        assert (after.vm_state, after.task_state, seen.proofs) == ("active", None, [])
        assert "signed images only" in after.fault["message"]


async def test_a_shelved_server_comes_back_once_its_image_is_signed(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with one(database, tmp_path, **VERIFY) as made:
        signer = Signer("signer").put(folder(made))
        server = await booted(made, await image(made, "signed", signer.signed(BYTES)))
        shelf = await made.images.create(CTX, "shelf", disk_format="qcow2", container_format="bare", properties={}, owner=server.project_id)
        await made.begin("shelve", server.uuid, image_id=shelf.id)
        await made.settle()
        await made.begin("unshelve", server.uuid)
        await made.settle()
        after = await made.server(server.uuid)
        assert (after.vm_state, after.host) == ("shelved_offloaded", None)
        assert "signed images only" in after.fault["message"]
        data = b"".join([chunk async for chunk in made.images.download(CTX, shelf.id)])
        properties = signer.signed(data)
        await made.images.set_properties(CTX, shelf.id, properties)
        seen = Seen(made, monkeypatch)
        await made.begin("unshelve", server.uuid)
        await made.settle()
        assert (await made.server(server.uuid)).vm_state == "active"
        assert seen.proofs == [Proof(properties=properties, certificate=signer.pem.decode())]


async def test_a_server_whose_image_lost_its_signer_is_not_evacuated(database: Database, tmp_path: Path) -> None:
    async with cloud(database, tmp_path, hosts=2, **VERIFY) as made:
        signer = Signer("signer").put(folder(made))
        server = await booted(made, await image(made, "signed", signer.signed(BYTES)))
        assert server.host is not None
        await made.stop_host(server.host)
        (folder(made) / f"{signer.id}.pem").unlink()
        await made.until(lambda: not made.conductor.table.is_heard(server.host))
        await made.begin("evacuate", server.uuid)
        await made.settle()
        after = await made.server(server.uuid)
        assert f"no certificate {signer.id}" in after.fault["message"]
        signer.put(folder(made))
        await made.begin("evacuate", server.uuid)
        await made.settle()
        moved = await made.server(server.uuid)
        assert (moved.vm_state, moved.host == server.host) == ("active", False)


# -- who vouches for the signer


async def test_the_servers_own_certificates_are_asked_for_whatever_the_options_say(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with one(database, tmp_path) as made:
        root, middle, signer = (each.put(folder(made)) for each in family())
        seen, signed = Seen(made, monkeypatch), await image(made, "signed", signer.signed(BYTES))
        lost = Signer("lost")
        server = await booted(made, signed, trusted_certs=[lost.id, "no id", middle.id, root.id])
        assert (server.vm_state, server.fault) == ("active", None)
        assert [proof and proof.trusted for proof in seen.proofs] == [(middle.pem.decode(), root.pem.decode())]
        refused = await booted(made, signed, trusted_certs=[root.id])
        assert (refused.vm_state, refused.fault["code"], len(seen.proofs)) == ("error", 400, 1)
        assert "None of the trusted certificates" in refused.fault["message"]
        unsigned = await booted(made, made.image_id, trusted_certs=[root.id, middle.id])
        assert (unsigned.vm_state, len(seen.proofs)) == ("error", 1)


async def test_where_certificates_are_validated_the_operators_stand_in_for_the_servers(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, middle, signer = family()
    async with one(database, tmp_path, **VALIDATE, image__default_trusted_certificates=[middle.id, root.id]) as made:
        for each in (root, middle, signer):
            each.put(folder(made))
        seen, signed = Seen(made, monkeypatch), await image(made, "signed", signer.signed(BYTES))
        assert (await booted(made, signed)).vm_state == "active"
        assert [proof and proof.trusted for proof in seen.proofs] == [(middle.pem.decode(), root.pem.decode())]
        assert (await booted(made, signed, trusted_certs=[root.id])).vm_state == "error"


async def test_where_certificates_are_validated_somebody_must_name_some(database: Database, tmp_path: Path) -> None:
    async with one(database, tmp_path, **VALIDATE) as made:
        signer = Signer("signer").put(folder(made))
        server = await booted(made, await image(made, "signed", signer.signed(BYTES)))
        assert server.vm_state == "error"
        assert "name some by trusted_image_certificates" in server.fault["message"]


async def test_a_certificate_that_expired_since_the_upload_makes_no_server(database: Database, tmp_path: Path) -> None:
    async with one(database, tmp_path, **VERIFY) as made:
        signer = Signer("signer").put(folder(made))
        signed = await image(made, "signed", signer.signed(BYTES))
        late = Signer("signer", days=(-10, -1))
        (folder(made) / f"{signer.id}.pem").write_bytes(late.pem)
        server = await booted(made, signed)
        assert server.vm_state == "error"
        assert f"The certificate {signer.id} is valid from" in server.fault["message"]


# -- hosts that cannot tell


async def test_a_host_that_verifies_nothing_gets_no_such_server(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with one(database, tmp_path, **VERIFY) as made:
        signer = Signer("signer").put(folder(made))
        signed = await image(made, "signed", signer.signed(BYTES))
        server = await booted(made, signed)
        async with made.database.connection() as conn:
            await conn.execute("UPDATE hosts SET traits = '[\"COMPUTE_NODE\"]'")
        await made.conductor.desk.refresh()
        seen = Seen(made, monkeypatch)
        refused = await booted(made, signed)
        assert (refused.vm_state, "the trait COMPUTE_TRUSTED_CERTS" in refused.fault["message"]) == ("error", True)
        for kind, given in (("rescue", {}), ("rebuild", {"image_id": signed, "preserve_ephemeral": False})):
            await made.begin(kind, server.uuid, **given)
            await made.settle()
            after = await made.server(server.uuid)
            assert (after.vm_state, after.task_state) == ("active", None)
            assert "the server's host cannot verify images" in after.fault["message"]
        assert seen.proofs == []
