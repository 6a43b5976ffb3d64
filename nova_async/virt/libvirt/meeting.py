"""What two hosts agree on before a running guest moves: whether its files are where both see them, and else which disks are made.

source        destination
Plan     ->                  the guest's disks and processor, and a mark in its folder
         <-   Place          whether the mark is seen here too; where the files are to be; which disks want all their content
files    ->                  the content of the files that no migration copies (a config drive)
         <-   Place          all is there; or, at any moment, what went wrong
"""

import hashlib
import re
from pathlib import Path

import msgspec

from nova_async import errors
from nova_async.certs.identity import Identity
from nova_async.errors import Error, Invalid
from nova_async.virt.libvirt import tunnel
from nova_async.virt.libvirt.pipes import CHUNK, Stream
from nova_async.virt.libvirt.transfer import get, put

ANSWER_SECONDS = 600.0  # the destination may have to fetch the image first
DISK = re.compile(r"disk(\.(eph\d+|swap))?")
FILE = re.compile(r"disk\.config")
FILE_BYTES = 128 * 2**20


class PlannedDisk(msgspec.Struct, frozen=True, kw_only=True):
    """A disk (qcow2) that the guest writes. ``base``: the name of the cache's file that it is an overlay of; empty for none."""

    name: str
    virtual_size: int  # bytes
    base: str = ""


class PlannedFile(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    size: int
    sha256: str


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    mark: str  # name of a file in the guest's folder
    disks: tuple[PlannedDisk, ...]
    files: tuple[PlannedFile, ...] = ()
    cpu: str = ""  # the guest's processor in libvirt's words, empty: that of its host
    block: bool | None = None  # copy the disks; None: if need be


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """``whole``: disks that were made without a base, so that all their content is to be copied.

    ``volumes``: the disk elements by which libvirt reaches the guest's volumes from there, by the volumes' ids.
    """

    shared: bool = False
    folder: str = ""
    whole: tuple[str, ...] = ()
    volumes: dict[str, str] = {}
    cpus: str = ""  # where guests without CPUs of their own run; empty: anywhere
    error: str = ""
    kind: str = ""  # of ``nova_async.errors``


def check(plan: Plan) -> None:
    """Raises ``Invalid`` for a plan that names what no guest has."""
    if not all(DISK.fullmatch(disk.name) and disk.virtual_size >= 0 for disk in plan.disks):
        raise Invalid("The other host plans for disks that no server has.")
    if not all(FILE.fullmatch(file.name) and 0 <= file.size <= FILE_BYTES for file in plan.files):
        raise Invalid("The other host plans for files that no server has.")
    if "/" in plan.mark or not plan.mark.startswith(".live-"):
        raise Invalid("The other host's mark is not one.")


def planned_file(path: Path) -> PlannedFile:
    """Blocks."""
    data = path.read_bytes()
    return PlannedFile(name=path.name, size=len(data), sha256=hashlib.sha256(data).hexdigest())


async def propose(ticket: tunnel.Ticket, plan: Plan, contents: dict[str, bytes], identity: Identity | None) -> Place:
    """The source's side. Raises what the destination met."""
    stream = await tunnel.connect(ticket, tunnel.PLAN, identity)
    try:
        await put(stream[1], plan)
        place = _checked(await get(stream[0], Place, ANSWER_SECONDS))
        if not place.shared:
            for file in plan.files:
                await _send(stream, contents[file.name])
            _checked(await get(stream[0], Place, ANSWER_SECONDS))
    finally:
        stream[1].transport.abort()
    return place


async def _send(stream: Stream, data: bytes) -> None:
    for start in range(0, len(data), CHUNK):
        stream[1].write(data[start : start + CHUNK])
        await stream[1].drain()


async def receive(stream: Stream, file: PlannedFile) -> bytes:
    """Raises ``Invalid`` when it is not what was planned."""
    data = bytearray()
    while len(data) < file.size:
        chunk = await stream[0].read(min(CHUNK, file.size - len(data)))
        if not chunk:
            raise EOFError
        data += chunk
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise Invalid("A file of the server was changed on its way.")
    return bytes(data)


def refusal(error: Error) -> Place:
    return Place(error=error.message, kind=type(error).__name__)


def _checked(place: Place) -> Place:
    if place.error:
        kind = getattr(errors, place.kind, Error)
        raise (kind if isinstance(kind, type) and issubclass(kind, Error) else Error)(place.error)
    return place
