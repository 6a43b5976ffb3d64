"""Disks on their way from one host to another: sparse, proven, resumed, and by nobody else."""

import asyncio
import contextlib
import hashlib
import os
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from nova_async import qemu_img
from nova_async.certs.identity import Identity
from nova_async.errors import Conflict, Error, Forbidden, Invalid, NoCapacity, NotFound, Unavailable
from nova_async.processes import run
from nova_async.virt.libvirt import arriving, qcow2, sending, sparse, transfer
from nova_async.virt.libvirt.arriving import Arrivals, Expected
from nova_async.virt.libvirt.files import FileThreads
from nova_async.virt.libvirt.image_cache import ImageCache
from nova_async.virt.libvirt.sending import Sender
from nova_async.virt.libvirt.transfer import Answer, Hello, Offer, Ticket
from nova_async.world import RealWorld
from tests.certs.parties import Parties

from .conftest import FolderImages, quiet

SERVER = "11111111-2222-4333-8444-555555555555"
GIB = 2**30
DISK = (Expected(name="disk", most=GIB), Expected(name="disk.swap", most=2**24, exact=True, needed=False))
PORT = 19_000 + 50 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
CANARY = b"the host's own canary"
SOURCE = "compute.a"


class Host:
    """A state folder with an image cache, and what a driver has of transfers."""

    def __init__(
        self, folder: Path, world: RealWorld, ports: tuple[int, int] = (PORT, PORT + 20), identity: Identity | None = None
    ) -> None:
        self.identity = identity
        self.world, self.files, self.instances = world, FileThreads(), folder / "instances"
        self.instances.mkdir(parents=True)
        self.base_folder, self.ports = folder / "image-cache", ports
        self.start()

    def start(self) -> None:
        self.cache = ImageCache(self.base_folder, FolderImages(self.base_folder), self.files, self.world, keep_seconds=0)
        self.arrivals = Arrivals(self.instances, self.cache, self.files, self.world, "127.0.0.1", self.ports, self.identity)
        self.sender = Sender(self.base_folder, self.files, self.world, self.identity)

    async def restart(self) -> None:
        """As a worker that was killed comes again."""
        await self.arrivals.close()
        self.start()
        await self.arrivals.open()

    @property
    def folder(self) -> Path:
        return self.instances / SERVER

    async def overlay(self, name: str = "disk", size: int = GIB, content: bytes = b"base" * 4096, base: str = "") -> Path:
        """A disk on a raw base, with some data of its own."""
        self.folder.mkdir(exist_ok=True)
        await self.cache.open()
        path = self.base_folder / (base or f"{hashlib.sha512(content).hexdigest()}.raw")
        path.write_bytes(content)
        qcow2.create(self.folder / name, size, path, "raw")
        await run("qemu-io", "-f", "qcow2", "-c", "write -P 7 900M 100k", str(self.folder / name), deadline=30)
        return self.folder / name

    async def send(self, ticket: Ticket) -> None:
        await self.sender.send(self.folder, ticket, quiet)


@pytest.fixture
async def hosts(tmp_path: Path, world: RealWorld) -> AsyncIterator[tuple[Host, Host]]:
    """Source and destination."""
    source, destination = Host(tmp_path / "a", world), Host(tmp_path / "b", world)
    await destination.cache.open()
    yield source, destination
    for host in (source, destination):
        await host.arrivals.close()
        host.files.close()


async def same(one: Path, other: Path) -> None:
    """The guest sees the same on both disks; fails otherwise."""
    await run("qemu-img", "compare", "-s", "-f", "qcow2", "-F", "qcow2", str(one), str(other), deadline=60)


async def test_disks_arrive_with_their_base_and_stay_sparse(hosts: tuple[Host, Host]) -> None:
    source, destination = hosts
    disk = await source.overlay()
    ticket = await destination.arrivals.expect(SERVER, 2, DISK, SOURCE)
    assert not destination.arrivals.is_complete(SERVER, 2)
    await source.send(ticket)
    assert destination.arrivals.is_complete(SERVER, 2)
    assert not destination.arrivals.is_complete(SERVER, 3)
    arrived = destination.folder / "disk"
    await same(disk, arrived)
    header = qcow2.read_header(arrived)
    assert Path(header.backing_file).parent == destination.base_folder
    facts = await qemu_img.info(arrived, "qcow2")
    assert facts["backing-filename-format"] == "raw"
    assert arrived.stat().st_blocks * 512 < 2**20
    assert arrived.stat().st_mode & 0o777 == 0o600
    assert await destination.cache.sweep(destination.arrivals.bases()) == []
    assert not list(destination.folder.glob("*.part"))


async def test_a_base_that_the_destination_has_is_not_sent_again(hosts: tuple[Host, Host]) -> None:
    source, destination = hosts
    disk = await source.overlay()
    base = Path(qcow2.read_header(disk).backing_file)
    (destination.base_folder / base.name).write_bytes(base.read_bytes())
    known = (destination.base_folder / base.name).stat().st_ino
    await source.send(await destination.arrivals.expect(SERVER, 2, DISK, SOURCE))
    assert (destination.base_folder / base.name).stat().st_ino == known
    await same(disk, destination.folder / "disk")


async def test_sec_017_file_systems_that_two_hosts_made_for_empty_disks_are_not_taken_for_each_other(hosts: tuple[Host, Host]) -> None:
    """SEC-017: the same name in both caches, and other bytes."""
    source, destination = hosts
    await source.overlay()
    name = "empty-ext4-ephemeral0-1024.raw"
    disk = await source.overlay("disk.eph0", content=b"made here" * 5000, base=name)
    (destination.base_folder / name).write_bytes(b"somebody else's" * 3000)
    expected = (*DISK, Expected(name="disk.eph0", most=GIB))
    await source.send(await destination.arrivals.expect(SERVER, 2, expected, SOURCE))
    await same(disk, destination.folder / "disk.eph0")
    assert Path(qcow2.read_header(destination.folder / "disk.eph0").backing_file).name.startswith("data-")


async def test_a_transfer_goes_on_after_the_destination_was_killed(hosts: tuple[Host, Host], monkeypatch: pytest.MonkeyPatch) -> None:
    source, destination = hosts
    disk = await source.overlay()
    ticket = await destination.arrivals.expect(SERVER, 2, DISK, SOURCE)
    await destination.arrivals.close()
    sending_ = asyncio.create_task(source.send(ticket))
    await asyncio.sleep(0.3)
    assert not sending_.done()
    await destination.restart()
    await sending_
    await same(disk, destination.folder / "disk")
    await destination.restart()
    assert destination.arrivals.is_complete(SERVER, 2)
    await source.send(ticket)  # whoever did not hear the answer asks again


async def test_a_source_that_comes_anew_takes_the_place_of_its_earlier_connection(hosts: tuple[Host, Host]) -> None:
    source, destination = hosts
    disk = await source.overlay()
    ticket = await destination.arrivals.expect(SERVER, 2, DISK, SOURCE)
    reader, writer = await transfer.connect(ticket, None)
    offers = sending._offers(source.folder, source.base_folder)
    await transfer.put(writer, Hello(version=transfer.VERSION, token=ticket.token, files=tuple(offers.values())))
    await transfer.get(reader, Answer)
    await transfer.put_piece(writer, 0, b"half a file")
    await source.send(ticket)
    await same(disk, destination.folder / "disk")
    with contextlib.suppress(ConnectionError):
        assert await reader.read() == b""
    writer.close()


async def test_expecting_again_gives_the_same_ticket_and_a_newer_placement_another(hosts: tuple[Host, Host]) -> None:
    _, destination = hosts
    first = await destination.arrivals.expect(SERVER, 2, DISK, SOURCE)
    assert await destination.arrivals.expect(SERVER, 2, DISK, SOURCE) == first
    await destination.restart()
    assert await destination.arrivals.expect(SERVER, 2, DISK, SOURCE) == first
    assert (await destination.arrivals.expect(SERVER, 3, DISK, SOURCE)).token != first.token


async def test_a_forgotten_arrival_listens_no_more(hosts: tuple[Host, Host], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "RETRY_SECONDS", 0.2)
    source, destination = hosts
    await source.overlay()
    ticket = await destination.arrivals.expect(SERVER, 2, DISK, SOURCE)
    await destination.arrivals.forget(SERVER)
    with pytest.raises(Unavailable):
        await source.send(ticket)
    assert not (destination.folder / arriving.CERTIFICATE).exists()


async def test_a_source_without_disks_says_so(hosts: tuple[Host, Host]) -> None:
    source, destination = hosts
    with pytest.raises(NotFound):
        await source.send(await destination.arrivals.expect(SERVER, 2, DISK, SOURCE))


async def test_a_source_that_lost_the_root_disk_is_refused_and_one_whose_disks_are_volumes_is_not(hosts: tuple[Host, Host]) -> None:
    source, destination = hosts
    source.folder.mkdir()
    with pytest.raises(Invalid, match="no file disk"):
        await source.send(await destination.arrivals.expect(SERVER, 2, DISK, SOURCE))
    await source.send(await destination.arrivals.expect(SERVER, 3, (), SOURCE))
    assert destination.arrivals.is_complete(SERVER, 3)


async def test_a_disk_never_gets_smaller(hosts: tuple[Host, Host]) -> None:
    source, destination = hosts
    await source.overlay(size=2 * GIB)
    with pytest.raises(Invalid, match="Unable to resize disk down"):
        await source.send(await destination.arrivals.expect(SERVER, 2, DISK, SOURCE))


async def test_swap_of_another_size_is_not_brought_over(hosts: tuple[Host, Host]) -> None:
    source, destination = hosts
    await source.overlay()
    await source.overlay("disk.swap", size=GIB)
    await source.send(await destination.arrivals.expect(SERVER, 2, DISK, SOURCE))
    assert not (destination.folder / "disk.swap").exists()


async def test_a_destination_without_room_says_so(hosts: tuple[Host, Host], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arriving, "MARGIN_BYTES", 2**60)
    source, destination = hosts
    await source.overlay()
    with pytest.raises(NoCapacity):
        await source.send(await destination.arrivals.expect(SERVER, 2, DISK, SOURCE))


async def test_a_host_takes_no_more_guests_than_it_has_ports(tmp_path: Path, world: RealWorld) -> None:
    host = Host(tmp_path / "c", world, (PORT + 30, PORT + 30))
    await host.arrivals.expect(SERVER, 2, DISK, SOURCE)
    with pytest.raises(NoCapacity, match="takes no more disks at once"):
        await host.arrivals.expect(SERVER.replace("1", "2"), 2, DISK, SOURCE)
    await host.arrivals.close()


# -- those who should not be here


async def test_sec_020_disks_go_to_nobody_but_the_host_of_the_ticket(hosts: tuple[Host, Host]) -> None:
    """SEC-020: another certificate at the address ends it before anything is sent."""
    source, destination = hosts
    await source.overlay()
    ticket = await destination.arrivals.expect(SERVER, 2, DISK, SOURCE)
    with pytest.raises(Error, match="not the host"):
        await source.send(msgspec.structs.replace(ticket, fingerprint="0" * 64))


async def test_sec_020_the_wire_shows_nothing_of_the_disks(hosts: tuple[Host, Host]) -> None:
    """SEC-020: all that passes between the two hosts is encrypted, and TLS before 1.3 is refused."""
    source, destination = hosts
    await source.overlay(content=CANARY * 1000)
    ticket = await destination.arrivals.expect(SERVER, 2, DISK, SOURCE)
    passed = bytearray()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection(ticket.address, ticket.port)
        await asyncio.gather(copy(reader, there[1], passed), copy(there[0], writer, passed))

    wire = await asyncio.start_server(relay, "127.0.0.1", 0)
    await source.send(msgspec.structs.replace(ticket, port=wire.sockets[0].getsockname()[1]))
    wire.close()
    assert len(passed) > 20_000
    assert CANARY not in passed
    assert ticket.token.encode() not in passed
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode, old.maximum_version = False, ssl.CERT_NONE, ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        await asyncio.open_connection(ticket.address, ticket.port, ssl=old)


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passed: bytearray) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            passed += data
            writer.write(data)
            await writer.drain()
    writer.close()


async def test_whoever_does_not_have_the_token_is_told_nothing_and_changes_nothing(hosts: tuple[Host, Host]) -> None:
    source, destination = hosts
    await source.overlay()
    ticket = await destination.arrivals.expect(SERVER, 2, DISK, SOURCE)
    offers = tuple(sending._offers(source.folder, source.base_folder).values())
    for message in (Hello(version=1, token="guess", files=offers), Hello(version=1, token="", files=()), Answer(error="what?")):
        reader, writer = await transfer.connect(ticket, None)
        await transfer.put(writer, message)
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()
    assert sorted(path.name for path in destination.folder.iterdir()) == [arriving.STATE, arriving.CERTIFICATE]
    await source.send(ticket)


async def sent(destination: Host, offers: list[Offer], contents: dict[str, Path], digest: str = "") -> Answer:
    """Send files as a source that lies does; the last answer."""
    ticket = await destination.arrivals.expect(SERVER, 2, DISK, SOURCE)
    reader, writer = await transfer.connect(ticket, None)
    try:
        await transfer.put(writer, Hello(version=1, token=ticket.token, files=tuple(offers)))
        answer = await transfer.get(reader, Answer)
        if answer.error:
            return answer
        for name in answer.wanted:
            source = sparse.Reader(contents[name])
            while (piece := source.next()) is not None:
                await transfer.put_piece(writer, *piece)
            await transfer.put_piece(writer, 0, b"")
            await transfer.put(writer, transfer.Digest(sha256=digest or source.digest()))
            source.close()
        return await transfer.get(reader, Answer)
    finally:
        writer.close()


def offer_of(path: Path, name: str = "disk", form: str = "qcow2", **others: object) -> Offer:
    told = {"size": path.stat().st_size, "data": path.stat().st_size, "virtual_size": GIB, **others}
    return Offer(name=name, format=form, **told)


async def test_sec_002_an_overlay_of_a_file_of_the_host_is_refused(hosts: tuple[Host, Host], tmp_path: Path) -> None:
    """SEC-002, SEC-004: what a disk reads beside itself is decided here, not by what came."""
    _, destination = hosts
    canary = tmp_path / "canary"
    canary.write_bytes(CANARY * 100)
    evil = tmp_path / "evil"
    qcow2.create(evil, GIB, canary, "raw")
    answer = await sent(destination, [offer_of(evil)], {"disk": evil})
    assert "not what was offered" in answer.error
    assert not (destination.folder / "disk").exists()


async def test_sec_006_a_disk_with_its_data_in_another_file_is_refused(hosts: tuple[Host, Host], tmp_path: Path) -> None:
    """SEC-006: the feature bit for an external data file."""
    _, destination = hosts
    evil = tmp_path / "evil"
    qcow2.create(evil, GIB)
    with evil.open("r+b") as file:
        file.seek(72)
        file.write((1 << 2).to_bytes(8, "big"))
    assert "external data file" in (await sent(destination, [offer_of(evil)], {"disk": evil})).error


async def test_sec_007_a_disk_in_another_format_than_declared_is_refused(hosts: tuple[Host, Host], tmp_path: Path) -> None:
    """SEC-007, SEC-004: raw data that were a qcow2 image to somebody who guesses, and the reverse."""
    _, destination = hosts
    raw = tmp_path / "raw"
    raw.write_bytes(CANARY * 1000)
    assert "not a qcow2 image" in (await sent(destination, [offer_of(raw)], {"disk": raw})).error
    assert "not what was expected" in (await sent(destination, [offer_of(raw, form="raw")], {"disk": raw})).error


async def test_sec_011_a_base_that_is_not_what_its_name_says_never_reaches_the_cache(hosts: tuple[Host, Host], tmp_path: Path) -> None:
    """SEC-011: a source cannot replace an image in another host's cache."""
    source, destination = hosts
    disk = await source.overlay()
    base = Path(qcow2.read_header(disk).backing_file).name
    other = tmp_path / "other"
    other.write_bytes(b"not the image")
    for name in (base, f"data-{'0' * 64}.raw"):
        offers = [offer_of(other, name, "raw", virtual_size=0), offer_of(disk, base=name)]
        answer = await sent(destination, offers, {name: other, "disk": disk})
        assert "not what its name says" in answer.error
        assert list(destination.base_folder.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"base": "../../etc/passwd"}, "was not offered"),
        ({"data": 10}, "not what was offered"),
        ({"size": 10, "data": 10}, "not what was offered"),
        ({"data": 2**50}, "not what was expected"),
        ({"virtual_size": 512}, "not what was offered"),
    ],
)
async def test_what_does_not_match_its_offer_is_refused(
    hosts: tuple[Host, Host], tmp_path: Path, change: dict[str, object], why: str
) -> None:
    _, destination = hosts
    disk = tmp_path / "disk"
    qcow2.create(disk, GIB)
    assert why in (await sent(destination, [offer_of(disk, **change)], {"disk": disk})).error


async def test_sec_014_only_files_of_known_names_are_taken(hosts: tuple[Host, Host], tmp_path: Path) -> None:
    """SEC-014: names that lead elsewhere."""
    _, destination = hosts
    disk = tmp_path / "disk"
    qcow2.create(disk, GIB)
    offers = [offer_of(disk), *(offer_of(disk, name) for name in ("../escaped", "/tmp/escaped", "disk/../x", "arrival.pem"))]
    answer = await sent(destination, offers, {"disk": disk})
    assert answer.error == ""
    assert sorted(path.name for path in destination.folder.iterdir()) == ["arrival.json", "arrival.pem", "disk"]


async def test_a_file_that_changed_on_its_way_is_refused(hosts: tuple[Host, Host], tmp_path: Path) -> None:
    _, destination = hosts
    disk = tmp_path / "disk"
    qcow2.create(disk, GIB)
    assert "did not arrive as it was sent" in (await sent(destination, [offer_of(disk)], {"disk": disk}, "0" * 64)).error


def test_pieces_and_their_digest_tell_two_files_apart(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for path, offset in ((one, 0), (other, 2**20)):
        with path.open("wb") as file:
            file.truncate(2**22)
            os.pwrite(file.fileno(), b"x" * 4096, offset)
    assert sparse.data_bytes(one) == sparse.data_bytes(other) == sparse.BLOCK
    assert sparse.digest_of(one) != sparse.digest_of(other)
    assert sparse.digest_of(one) == sparse.digest_of(one)


def test_room_that_was_never_written_is_no_data_whoever_has_read_it(tmp_path: Path) -> None:
    """QEMU makes such room; ext4 shows it as data once it is in the page cache, where reading ahead has brought it."""
    path, plain = tmp_path / "one", tmp_path / "plain"
    with path.open("wb") as file, plain.open("wb") as same:
        os.posix_fallocate(file.fileno(), 0, 2**22)
        same.truncate(2**22)
        for place in range(0, 2**22, 2**18):
            for each in (file, same):
                os.pwrite(each.fileno(), b"x" * 5000, place + 100)
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    promised, digest = sparse.data_bytes(path), sparse.digest_of(path)
    path.read_bytes()
    reader, read = sparse.Reader(path), 0
    while (piece := reader.next()) is not None:
        read += len(piece[1])
        assert piece[0] % sparse.BLOCK == 0
    reader.close()
    assert read == 16 * sparse.BLOCK <= promised
    assert reader.digest() == digest == sparse.digest_of(plain)


def test_a_file_is_read_to_its_end(tmp_path: Path) -> None:
    path, copy = tmp_path / "one", tmp_path / "copy"
    for size in (0, 1, sparse.BLOCK, sparse.CHUNK + 5, 3 * sparse.CHUNK - 1):
        path.write_bytes(os.urandom(size))
        reader, writer = sparse.Reader(path), sparse.Writer(copy, size)
        read = 0
        while (piece := reader.next()) is not None:
            read += len(piece[1])
            writer.write(*piece)
        assert (writer.finish(), copy.read_bytes()) == (reader.digest(), path.read_bytes())
        assert read == size == sparse.data_bytes(path)
        reader.close()
        writer.close()


@pytest.fixture
async def enrolled(tmp_path: Path, world: RealWorld) -> AsyncIterator[list[Host]]:
    """Hosts a, b and c, which have certificates of one authority."""
    parties = Parties(tmp_path / "parties", world)
    made = [Host(tmp_path / name, world, identity=await parties.identity(f"compute.{name}")) for name in "abc"]
    yield made
    for host in made:
        await host.arrivals.close()


async def test_enrolled_hosts_know_each_other_by_their_certificates(enrolled: list[Host], capsys) -> None:
    source, destination, other = enrolled
    await source.overlay()
    ticket = await destination.arrivals.expect(SERVER, 2, DISK, SOURCE)
    assert (ticket.party, ticket.fingerprint) == ("compute.b", "")
    assert not (destination.folder / arriving.CERTIFICATE).exists()
    await other.overlay()
    with pytest.raises(Forbidden, match="does not take"):
        await other.send(ticket)  # holds a certificate, and even the token
    assert "party=compute.c" in capsys.readouterr().out
    with pytest.raises(Forbidden, match=r"is of compute\.b, not of compute\.c"):
        await source.send(msgspec.structs.replace(ticket, party="compute.c"))
    await destination.cache.open()
    await destination.restart()  # and listens for the same source
    await source.send(ticket)
    assert destination.arrivals.is_complete(SERVER, 2)


async def test_a_host_that_is_not_enrolled_brings_nothing_to_one_that_is(enrolled: list[Host], tmp_path: Path, world: RealWorld) -> None:
    stranger = Host(tmp_path / "stranger", world)
    await stranger.overlay()
    with pytest.raises(Conflict, match="enrol"):
        await stranger.send(await enrolled[1].arrivals.expect(SERVER, 2, DISK, SOURCE))


def test_files_are_sent_in_the_order_in_which_they_are_wanted() -> None:
    names = ("disk", "kernel", "nvram")
    offers = {Path("/folder", name): Offer(name=name, format="raw", size=1, data=1) for name in names}
    assert [path.name for path in sending._in_order(offers, ("kernel", "nvram", "disk"))] == ["kernel", "nvram", "disk"]
    with pytest.raises(Invalid):
        sending._in_order(offers, ("disk", "secrets.json"))
