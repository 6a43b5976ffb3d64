"""Consoles of hosts that are enrolled: the proxy and the host know each other by certificate, and nobody else is let in."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from nova_async.certs.identity import Identity
from nova_async.errors import Forbidden
from nova_async.model.consoles import ConsoleAddress
from nova_async.virt.libvirt.console_ports import ConsolePorts
from tests.certs.parties import Parties
from tests.cloud import Cloud
from tests.console.conftest import proxied, until


@pytest.fixture
def parties(tmp_path: Path, hosts: Cloud) -> Parties:
    return Parties(tmp_path / "parties", hosts.world)


class Enrolled:
    """Puts ports of an enrolled host before the consoles of the fake hosts. ``party``: whose certificate is shown there."""

    def __init__(self, hosts: Cloud, parties: Parties) -> None:
        self.hosts, self.parties, self.party = hosts, parties, ""
        self.ports: list[ConsolePorts] = []

    async def enrol(self, host: str) -> None:
        identity = await self.parties.identity(self.party or f"compute.{host}")
        ports = ConsolePorts("127.0.0.1", identity)
        self.ports.append(ports)
        driver = self.hosts.drivers[host]
        offered = driver.console

        async def console(instance_id: str, console_type: str) -> ConsoleAddress:
            plain = await offered(instance_id, console_type)
            path = self.parties.folder / f"{plain.port}.sock"
            if not path.exists():
                await self.lead(path, plain.port)
            port = await ports.offer(instance_id, console_type, 1, path)
            return msgspec.structs.replace(plain, port=port, party=f"compute.{host}")

        driver.console = console  # type: ignore[method-assign]

    async def lead(self, path: Path, port: int) -> None:
        """From a socket of the file system, as QEMU has it, to a console of the fake driver."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            there = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(self.carry(reader, there[1]), self.carry(there[0], writer))

        await asyncio.start_unix_server(serve, path)

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
        except OSError:
            pass
        writer.close()


@pytest.fixture
async def enrolled(hosts: Cloud, parties: Parties) -> AsyncIterator[Enrolled]:
    made = Enrolled(hosts, parties)
    yield made
    for ports in made.ports:
        ports.close()


async def app(parties: Parties) -> Identity:
    return await parties.identity("app")


async def test_a_screen_and_a_serial_line_over_tls(hosts: Cloud, parties: Parties, enrolled: Enrolled) -> None:
    for host in hosts.drivers:
        await enrolled.enrol(host)
    async with proxied(hosts, identity=await app(parties)) as consoles:
        server = await consoles.boot()
        line = await consoles.serial(server)
        await line.send_bytes(b"hello")
        await until(line, b"hello")
        screen = await consoles.connect(await consoles.token(server, "novnc"))
        await until(screen, b"RFB 003.008\n")
        await line.close()
        await screen.close()


async def test_a_host_that_shows_the_certificate_of_another_is_not_believed(hosts, parties, enrolled: Enrolled, capsys) -> None:
    enrolled.party = "compute.elsewhere"
    for host in hosts.drivers:
        await enrolled.enrol(host)
    async with proxied(hosts, identity=await app(parties)) as consoles:
        assert await consoles.refusal(await consoles.token(await consoles.boot())) == 503
    assert "party=compute.elsewhere" in capsys.readouterr().out


async def test_a_proxy_without_a_certificate_or_with_a_workers_gets_nothing(hosts, parties, enrolled: Enrolled, capsys) -> None:
    for host in hosts.drivers:
        await enrolled.enrol(host)
    async with proxied(hosts) as consoles:
        assert await consoles.refusal(await consoles.token(await consoles.boot())) == 503
    async with proxied(hosts, identity=await parties.identity("compute.other")) as consoles:
        assert await consoles.refusal(await consoles.token(await consoles.boot())) == 503
    assert "the certificate is not of app or console" in capsys.readouterr().out


async def test_the_port_of_a_console_speaks_to_nobody_else(hosts, parties, enrolled: Enrolled) -> None:
    """SEC-043: who finds the port, and even another host, sees nothing of the guest."""
    for host in hosts.drivers:
        await enrolled.enrol(host)
    async with proxied(hosts, identity=await app(parties)) as consoles:
        server = await consoles.boot()
        host = (await hosts.server(server)).host
        address = await hosts.drivers[host].console(server, "serial")
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(b"anybody?\r\n")
        assert b"login" not in await reader.read(1000)
        writer.close()
        with pytest.raises(Forbidden):
            await (await parties.identity("compute.other")).connect(address.host, address.port, f"compute.{host}", limit=1000)
