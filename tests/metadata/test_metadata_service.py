"""The metadata service answers only a proxy that proves which server is asking."""

import asyncio
import hmac
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from aiohttp import ClientSession, web

from nova_async.config import load
from nova_async.errors import Conflict, NotFound
from nova_async.metadata.documents import InstanceMetadata
from nova_async.metadata.dynamic import VendorData
from nova_async.metadata.service import application, signature
from nova_async.world import RealWorld

SECRET = "between-us"
ALICES = InstanceMetadata(uuid="8b6e5e2c-94f2-4c9f-8f39-0e8c6f0f3333", number=1, project_id="alice", name="a", hostname="alices-canary")
BOBS = InstanceMetadata(uuid="9b6e5e2c-94f2-4c9f-8f39-0e8c6f0f4444", number=2, project_id="bob", name="b", hostname="bobs-canary")


class Rows:
    """A ``MetadataSource`` in memory."""

    def __init__(self) -> None:
        self.servers = {m.uuid: m for m in (ALICES, BOBS)}
        self.asked = 0

    async def get(self, instance_id: str, project_id: str) -> InstanceMetadata:
        self.asked += 1
        if instance_id not in self.servers:
            raise NotFound()
        return self.servers[instance_id]

    async def set_password(self, instance_id: str, text: str) -> None:
        if self.servers[instance_id].password:
            raise Conflict()
        self.servers[instance_id] = msgspec.structs.replace(self.servers[instance_id], password=text)


class Service:
    def __init__(self, session: ClientSession, url: str, source: Rows) -> None:
        self.session, self.url, self.source = session, url, source

    async def __call__(self, path: str, headers: Any, method: str = "GET", body: bytes | None = None) -> tuple[int, str]:
        async with self.session.request(method, f"{self.url}{path}", headers=headers, data=body) as response:
            return response.status, await response.text()


@pytest.fixture
async def service(world: RealWorld) -> AsyncIterator[Service]:
    source, root = Rows(), web.Application()
    root.add_subapp("/metadata", application(source, load(None, {}), world, SECRET, VendorData(load(None, {}), world)))
    runner = web.AppRunner(root, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with ClientSession() as session:
        yield Service(session, f"http://127.0.0.1:{runner.addresses[0][1]}/metadata", source)
    await runner.cleanup()


def proof(server: InstanceMetadata, **other: str) -> dict[str, str]:
    headers = {"X-Instance-ID": server.uuid, "X-Tenant-ID": server.project_id, "X-Instance-ID-Signature": signature(SECRET, server.uuid)}
    return {name: value for name, value in (headers | other).items() if value}


async def test_a_proved_server_reads_its_own_documents(service: Service) -> None:
    assert await service("/latest/meta-data/hostname", proof(ALICES)) == (200, "alices-canary")
    assert await service("/latest/meta-data/hostname", proof(BOBS)) == (200, "bobs-canary")
    status, text = await service("/openstack/latest/meta_data.json", proof(ALICES))
    assert (status, '"hostname":"alices-canary"' in text) == (200, True)
    assert (await service("/", proof(ALICES)))[1].startswith("1.0\n")
    assert (await service("/nothing", proof(ALICES)))[0] == 404


@pytest.mark.parametrize("missing", ["X-Instance-ID", "X-Tenant-ID", "X-Instance-ID-Signature"])
async def test_a_missing_header_is_400(service: Service, missing: str) -> None:
    assert (await service("/latest/meta-data/hostname", proof(ALICES, **{missing: ""})))[0] == 400


@pytest.mark.parametrize("forged", ["0" * 64, "x", signature("guessed", ALICES.uuid), signature(SECRET, BOBS.uuid), "\u00e9"])
async def test_a_wrong_or_replayed_signature_is_403_and_the_source_is_not_asked(service: Service, forged: str) -> None:
    """SEC-053"""
    status, text = await service("/latest/meta-data/hostname", proof(ALICES, **{"X-Instance-ID-Signature": forged}))

    assert status == 403
    assert "canary" not in text
    assert service.source.asked == 0


async def test_another_projects_server_and_an_unknown_one_are_404(service: Service) -> None:
    assert (await service("/latest/meta-data/hostname", proof(ALICES)))[0] == 200

    assert (await service("/latest/meta-data/hostname", proof(ALICES, **{"X-Tenant-ID": "bob"})))[0] == 404
    unknown = {"X-Instance-ID": "x", "X-Instance-ID-Signature": signature(SECRET, "x")}
    assert (await service("/latest/meta-data/hostname", proof(ALICES, **unknown)))[0] == 404


@pytest.mark.parametrize("name", ["X-Instance-ID", "X-Tenant-ID", "X-Instance-ID-Signature"])
async def test_bytes_that_are_no_text_are_forged_as_well(service: Service, name: str) -> None:
    """SEC-053. A client of its own, as others refuse to send this."""
    headers = proof(ALICES)
    headers["X-Instance-ID-Signature"] = "0" * 64
    lines = [f"{key}: ".encode() + (b"\xff\xfe" if key == name else value.encode()) for key, value in headers.items()]
    host, port = service.url.split("/")[2].split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"\r\n".join([b"GET /metadata/latest/meta-data/hostname HTTP/1.1", b"Host: x", b"Connection: close", *lines, b"", b""]))
    answer = await reader.read()
    writer.close()

    assert answer.split(b" ")[1] in (b"400", b"403"), answer
    assert (b"canary" in answer, service.source.asked) == (False, 0)


async def test_headers_given_twice_are_refused(service: Service) -> None:
    headers = [*proof(ALICES).items(), ("X-Instance-ID", BOBS.uuid)]

    assert (await service("/latest/meta-data/hostname", headers))[0] == 400


async def test_no_mixture_of_headers_reads_another_servers_documents(service: Service, world: RealWorld) -> None:
    """SEC-053, with 1,000 sets of headers."""
    values = [ALICES.uuid, BOBS.uuid, "alice", "bob", signature(SECRET, ALICES.uuid), "0" * 64, "", "*", "../", "%00"]
    for _ in range(1000):
        headers = {name: world.random.choice(values) for name in (*proof(ALICES), "X-Forwarded-For", "X-Real-IP", "X-Metadata-Provider")}
        _, text = await service("/latest/meta-data/hostname", {k: v for k, v in headers.items() if v})
        assert "bobs-canary" not in text
        assert "alices-canary" not in text or (headers["X-Instance-ID"], headers["X-Tenant-ID"]) == (ALICES.uuid, "alice")


async def test_signatures_are_compared_in_constant_time(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """SEC-054"""
    seen = []
    real = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: seen.append((a, b)) or real(a, b))

    await service("/latest/meta-data/hostname", proof(ALICES))

    assert seen == [(signature(SECRET, ALICES.uuid).encode(),) * 2]


async def test_the_source_is_asked_once_while_the_answer_is_fresh(service: Service) -> None:
    for _ in range(5):
        await service("/latest/meta-data/hostname", proof(ALICES))

    assert service.source.asked == 1


async def test_a_password_is_kept_once(service: Service) -> None:
    path = "/openstack/2013-04-04/password"
    assert await service(path, proof(ALICES)) == (200, "")
    assert (await service(path, proof(ALICES), "POST", b"x" * 1021))[0] == 400
    assert (await service(path, proof(ALICES), "PUT", b"x"))[0] == 400
    assert (await service(path, proof(ALICES, **{"X-Tenant-ID": "bob"}), "POST", b"x"))[0] == 404

    assert (await service(path, proof(ALICES), "POST", b"sealed"))[0] == 200

    assert await service(path, proof(ALICES)) == (200, "sealed")
    assert (await service(path, proof(ALICES), "POST", b"again"))[0] == 409
    assert (await service("/openstack/2012-08-10/password", proof(ALICES)))[0] == 404
    assert (await service("/latest/meta-data/hostname", proof(ALICES), "POST", b"x"))[0] == 405
