"""Every channel of the lab is TLS by the cloud's authority; who has no good certificate is refused, and a log says why."""

import asyncio
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

from nova_async.certs import x509
from nova_async.certs.authority import load_or_make
from nova_async.certs.keeper import write_identity
from nova_async.world import RealWorld
from tests.lab import hosts
from tests.lab.cluster import COMPUTE, HOSTS, Cluster
from tests.lab.wire import listening

pytestmark = [pytest.mark.qemu, pytest.mark.hosts, pytest.mark.rabbitmq, pytest.mark.timeout(400), pytest.mark.xdist_group("qemu")]

ONE, TWO = HOSTS
MEMORY = b"canary-of-the-memory-of-a-guest"
SCREEN = b"RFB 003.008\n"
NOVA = [sys.executable, "-m", "nova_async"]


def config_of(cluster: Cluster, part: str) -> Path:
    return cluster.state / f"{part}.toml"


def trust(cluster: Cluster) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(cluster.state / "app/certs/ca-cert.pem"))


async def run(*command: str) -> str:
    """What it says, whether it succeeds or not."""
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60)
    return done.stdout + done.stderr


async def admin(cluster: Cluster, *words: str) -> str:
    return await run(*NOVA, "admin", "--config", str(config_of(cluster, "serve-8781")), *words)


async def enrol(cluster: Cluster, host: str) -> None:
    token = await admin(cluster, "enrol-host", host, "--name", hosts.address(HOSTS.index(host) + 1))
    said = await run("ip", "netns", "exec", host, *NOVA, "enrol", "--config", str(config_of(cluster, host)), token.strip())
    assert "the certificate is in" in said


def tell(cluster: Cluster, part: str, number: signal.Signals) -> None:
    os.kill(int((cluster.state / f"{part}.pid").read_text()), number)


class Log:
    """What a part writes from now on."""

    def __init__(self, cluster: Cluster, part: str) -> None:
        self.path = cluster.state / f"{part}.log"
        self.start = self.path.stat().st_size

    def text(self) -> str:
        with self.path.open("rb") as file:
            file.seek(self.start)
            return file.read().decode(errors="replace")

    async def says(self, pattern: str, seconds: float = 60.0) -> None:
        end = time.monotonic() + seconds
        while not re.search(pattern, self.text()):
            assert time.monotonic() < end, f"{pattern!r} is not in:\n{self.text()[-3000:]}"
            await asyncio.sleep(0.3)


@asynccontextmanager
async def console(cluster: Cluster, server: str, protocol: str, kind: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A connection to a console, as its page makes it."""
    asked = {"remote_console": {"protocol": protocol, "type": kind}}
    url = (await cluster.ask("POST", f"{COMPUTE}/servers/{server}/remote-consoles", asked))["remote_console"]["url"]
    assert url.startswith(("https://", "wss://"))
    parts = urlsplit(url)
    path = "/" + parse_qs(parts.query)["path"][0] if "path=" in parts.query else f"{parts.path}?{parts.query}"
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"wss://{parts.netloc}{path}", protocols=("binary",), ssl=trust(cluster)) as socket,
    ):
        yield socket


@pytest.fixture
async def server(cluster: Cluster, test_guest: Path) -> AsyncIterator[str]:
    """A real guest on the first host."""
    flavor = await cluster.flavor("lab.certs", ram=192, disk=1)
    made = await cluster.boot(await cluster.test_image(test_guest), flavor, availability_zone=f"nova:{ONE}")
    await cluster.reaches(made, "ACTIVE")
    yield made
    await cluster.delete(made)


async def test_every_channel_is_tls(cluster: Cluster, server: str) -> None:
    await cluster.booted(server, 1)
    await cluster.inside(server, f"yes {MEMORY.decode()} | head -c 4000000 > /tmp/canary; wc -c /tmp/canary")
    async with listening("labv1", MEMORY, SCREEN, b"TESTGUEST") as wire:
        worker = Log(cluster, ONE)
        cluster.kill(ONE)  # so that its worker comes anew to the bus
        await worker.says(f"ready {ONE}", 120)
        async with console(cluster, server, "vnc", "novnc") as screen:
            assert await screen.receive_bytes(timeout=20) == SCREEN
        async with console(cluster, server, "serial", "serial") as line:
            await line.send_bytes(b"\n")
            assert await line.receive_bytes(timeout=20)
        await cluster.act(server, **{"os-migrateLive": {"host": TWO, "block_migration": "auto"}})
        await cluster.reaches(server, "ACTIVE")
        assert await cluster.host_of(server) == TWO
        await cluster.inside(server, "wc -c /tmp/canary")
    assert wire.bare() == {}
    assert wire.seen == set()
    one, two = hosts.address(1), hosts.address(2)
    assert len(wire.spoken(hosts.OURS, range(5671, 5672))) >= 1
    assert len(wire.spoken(hosts.OURS, range(8774, 8775))) >= 1
    assert len(wire.spoken(two, range(16_600, 16_700))) >= 3  # libvirt's words, memory, disks
    assert len(wire.spoken(one, range(32_768, 61_000))) >= 2  # a screen and a serial line
    assert wire.octets > 4_000_000


async def test_a_revoked_host_is_cut_off_and_refused_by_all(cluster: Cluster, server: str) -> None:
    theirs, ours, app = Log(cluster, TWO), Log(cluster, ONE), Log(cluster, "serve-8781")
    assert "revoked" in await admin(cluster, "certificate", "revoke", f"compute.{TWO}")
    try:
        await theirs.says("bus.refused|bus.lost")
        await cluster.service(TWO, "down")
        for part in (ONE, "serve-8781", "serve-8782"):
            tell(cluster, part, signal.SIGHUP)
        await app.says("policy.reloaded")
        await asyncio.sleep(1)
        await knocks(cluster, server, cluster.state / TWO / "certs")
        await ours.says(r"tls.refused.*certificate revoked")
    finally:
        await enrol(cluster, TWO)
        cluster.kill(TWO)
    await cluster.service(TWO, "up")


async def test_a_certificate_of_another_host_opens_nothing(cluster: Cluster, server: str, tmp_path: Path) -> None:
    ours = Log(cluster, ONE)
    await knocks(cluster, server, cluster.state / TWO / "certs")
    await ours.says(rf"tls.refused.*party=compute\.{TWO} .*the certificate is not of app or console")
    text = config_of(cluster, TWO).read_text().replace(f"{cluster.state}/{TWO}", str(tmp_path))
    (tmp_path / "worker.toml").write_text(text)
    shutil.copytree(cluster.state / ONE / "certs", tmp_path / "certs")
    said = await run("ip", "netns", "exec", TWO, *NOVA, "compute", "--config", str(tmp_path / "worker.toml"))
    assert f"is of compute.{ONE}, not of compute.{TWO}" in said


async def test_an_expired_certificate_opens_nothing(cluster: Cluster, server: str, tmp_path: Path) -> None:
    ours = Log(cluster, ONE)
    root, issuing, *_ = load_or_make(cluster.state / "app/authority", RealWorld())
    key = x509.new_key()
    late = x509.sign(issuing, key.public_key(), "app", [], RealWorld().now(), -timedelta(seconds=5))
    write_identity(tmp_path / "certs", key, x509.pem(late) + x509.pem(issuing.certificate), x509.pem(root.certificate))
    await knocks(cluster, server, tmp_path / "certs")
    await ours.says(r"tls.refused.*certificate has expired")
    late = x509.sign(issuing, key.public_key(), f"compute.{TWO}", [], RealWorld().now(), -timedelta(seconds=5))
    write_identity(tmp_path / "certs", key, x509.pem(late) + x509.pem(issuing.certificate), x509.pem(root.certificate))
    text = config_of(cluster, TWO).read_text().replace(f"{cluster.state}/{TWO}", str(tmp_path))
    (tmp_path / "worker.toml").write_text(text)
    said = await run("ip", "netns", "exec", TWO, *NOVA, "compute", "--config", str(tmp_path / "worker.toml"))
    assert "expired at" in said
    said = await knock(hosts.OURS, 5671, tmp_path / "certs")
    assert "expired" in said, said


async def test_certificates_are_renewed_under_load_and_nothing_is_dropped(cluster: Cluster, test_guest: Path) -> None:
    """A certificate of three minutes is due twenty seconds after it was made, since clocks may differ by five minutes."""
    paths = [config_of(cluster, part) for part in ("serve-8781", "serve-8782")]
    before = [path.read_text() for path in paths]
    try:
        for path, text in zip(paths, before, strict=True):
            path.write_text(f"{text}[certs]\ncertificate_hours = 0.05\n")
        await serves_anew(cluster)
        logs = [Log(cluster, host) for host in HOSTS]
        for host in HOSTS:
            directory = cluster.state / host / "certs"
            url = f"{cluster.admin.url}/certs"
            assert "renewed" in await run(*NOVA, "renew", "--force", "--directory", str(directory), "--url", url)
            tell(cluster, host, signal.SIGHUP)
        flavor = await cluster.flavor("lab.certs", ram=192, disk=1)
        image = await cluster.test_image(test_guest)
        booted, end = 0, time.monotonic() + 75
        while time.monotonic() < end:
            made = [await cluster.boot(image, flavor) for _ in range(2)]
            for each in made:
                await cluster.reaches(each, "ACTIVE")
            async with console(cluster, made[0], "vnc", "novnc") as screen:
                assert await screen.receive_bytes(timeout=20) == SCREEN
            for each in made:
                await cluster.delete(each)
            booted += 2
        for log in logs:
            text = log.text()
            assert text.count("certificate.renewed") >= 3, text[-3000:]
            assert not re.search("bus.lost|Traceback|tls.refused|certificate.not_kept", text), text[-3000:]
        assert booted >= 4
    finally:
        for path, text in zip(paths, before, strict=True):
            path.write_text(text)
        await serves_anew(cluster)
        for host in HOSTS:  # certificates of a usual life again
            await enrol(cluster, host)
            tell(cluster, host, signal.SIGHUP)


async def serves_anew(cluster: Cluster) -> None:
    """With its present configuration."""
    cluster.kill("serve")
    await asyncio.sleep(2)
    for host in HOSTS:
        await cluster.service(host, "up")


async def knocks(cluster: Cluster, server: str, certs: Path) -> None:
    """Somebody with this certificate goes to the port of the server's screen, and sees nothing of it."""
    asked = {"remote_console": {"protocol": "vnc", "type": "novnc"}}
    opened = (await cluster.ask("POST", f"{COMPUTE}/servers/{server}/remote-consoles", asked))["remote_console"]["url"]
    token = opened.rpartition("token%3D")[2]
    told = (await cluster.ask("GET", f"{COMPUTE}/os-console-auth-tokens/{token}"))["console"]
    assert "RFB" not in await knock(told["host"], int(told["port"]), certs)


async def knock(address: str, port: int, certs: Path) -> str:
    """What OpenSSL's client says of a connection with this certificate."""
    command = ["openssl", "s_client", "-connect", f"{address}:{port}", "-cert", certs / "identity.pem", "-key", certs / "identity.pem"]
    command += ["-cert_chain", certs / "identity.pem", "-CAfile", certs / "ca-cert.pem", "-ign_eof"]
    done = await asyncio.to_thread(
        subprocess.run, list(map(str, command)), input="\n", capture_output=True, text=True, timeout=30, errors="replace"
    )
    return done.stdout + done.stderr
