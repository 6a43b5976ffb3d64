"""The only place that runs qemu-img. The format of an image is always said, never guessed."""

from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from nova_async.errors import Error, Invalid
from nova_async.processes import run

SECRET = ("--object", "secret,id=key,file=/dev/stdin")  # what the tool is told
FORMATS = frozenset({"raw", "qcow2"})
CONVERT_SECONDS = 1800.0
CHANGE_SECONDS = 120.0
LUKS_MILLISECONDS = 100  # of making a key of a passphrase hard to guess: ours are 256 bits of chance
LUKS_TRIES = 20
UNMEASURED = "Unable to get accurate CPU usage"  # QEMU, where the kernel counted no time for its first trial: the next may be counted
NETWORK_BYTES = 4 * 2**30  # address space: with the threads of a client of Ceph's
CONVERT_BYTES = 2 * 2**30  # address space: 64 threads with stacks of 8 MiB, and their buffers


class Luks(NamedTuple):
    """What opens and what makes an encrypted volume. ``bits`` of its AES key."""

    passphrase: str
    bits: int

    def __repr__(self) -> str:
        return f"Luks({self.bits} bits)"


async def check_base(path: Path, disk_format: str) -> int:
    """The virtual size in bytes, as QEMU reads the image. Raises ``Invalid`` when it refers to any other file."""
    facts = await info(path, disk_format)
    data = facts.get("format-specific", {}).get("data", {})
    if "backing-filename" in facts or "full-backing-filename" in facts:
        raise Invalid("The image refers to a backing file; upload it flattened.")
    if "data-file" in data:
        raise Invalid("The image refers to an external data file; upload it as one file.")
    if facts.get("encrypted"):
        raise Invalid("The image is encrypted.")
    size: int = facts["virtual-size"]
    return size


async def info(path: Path, disk_format: str, *, deadline: float = 30.0) -> dict[str, Any]:
    """What ``qemu-img info --output=json`` says; it opens no backing file."""
    output = await run("qemu-img", "info", "-f", _known(disk_format), "--output=json", "--", _file(path), deadline=deadline)
    facts: dict[str, Any] = msgspec.json.decode(output)
    return facts


async def convert(source: Path, source_format: str, target: Path, target_format: str, *, in_use: bool = False) -> None:
    """Copy an image into another format; holes stay holes. ``in_use``: a (paused) guest holds its lock."""
    await run(
        "qemu-img",
        "convert",
        *(("-U",) if in_use else ()),
        "-f",
        _known(source_format),
        "-O",
        _known(target_format),
        "-t",
        "none",
        "--",
        _file(source),
        _file(target),
        deadline=CONVERT_SECONDS,
        memory_bytes=CONVERT_BYTES,
        cpu_seconds=int(CONVERT_SECONDS),
    )


async def make_luks(path: Path, size: int, luks: Luks) -> None:
    """An encrypted volume that shows ``size`` bytes: of nothing in particular, as long as nobody has written them."""
    how = f"key-secret=key,cipher-alg=aes-{luks.bits},cipher-mode=xts,ivgen-alg=plain64,hash-alg=sha256,iter-time={LUKS_MILLISECONDS}"
    words = ("create", "-q", *SECRET, "-f", "luks", "-o", how, "--", _file(path), str(size))
    for left in reversed(range(LUKS_TRIES)):
        try:
            await run("qemu-img", *words, deadline=CHANGE_SECONDS, told=luks.passphrase.encode())
            return
        except Error as error:
            if not left or UNMEASURED not in (error.detail or ""):
                raise


async def convert_into_luks(source: Path, source_format: str, place: str, luks: Luks) -> None:
    """Write an image over the beginning of an encrypted volume. ``place``: it, in options of QEMU's ``luks`` driver."""
    target = ("--target-image-opts", "--", _file(source), f"driver=luks,key-secret=key,{place}")
    words = ("convert", *SECRET, "-n", "-f", _known(source_format), "-t", "none", *target)
    limits: dict[str, Any] = {"memory_bytes": NETWORK_BYTES, "cpu_seconds": int(CONVERT_SECONDS)}
    await run("qemu-img", *words, deadline=CONVERT_SECONDS, told=luks.passphrase.encode(), **limits)


async def convert_into_zeros(source: Path, source_format: str, node: str) -> None:
    """Write an image over the beginning of a disk that has nothing but zeros. ``node``: the disk, in QEMU's options."""
    words = (
        "convert",
        "-n",
        "--target-is-zero",
        "-f",
        _known(source_format),
        "-t",
        "none",
        "--target-image-opts",
        "--",
        _file(source),
        node,
    )
    await run("qemu-img", *words, deadline=CONVERT_SECONDS, memory_bytes=NETWORK_BYTES, cpu_seconds=int(CONVERT_SECONDS))


async def convert_out_of(node: str, target: Path, target_format: str, folder: Path | None = None) -> None:
    """A copy of a disk as a new file; zeros are holes. ``node``: the disk, in QEMU's options; its paths may start in ``folder``."""
    words = ("convert", "-O", _known(target_format), "-t", "none", "--image-opts", "--", node, _file(target))
    limits: dict[str, Any] = {"memory_bytes": NETWORK_BYTES, "cpu_seconds": int(CONVERT_SECONDS)}
    await run("qemu-img", *words, deadline=CONVERT_SECONDS, folder=folder, **limits)


async def check_node(node: str) -> None:
    """Raises ``Error`` when QEMU cannot open a disk that is described in its options."""
    await run("qemu-img", "info", "-U", "--image-opts", "--", node, deadline=30.0, memory_bytes=NETWORK_BYTES)


async def make_qcow2(path: Path, size: int) -> None:
    """An empty disk that shows ``size`` bytes."""
    await run("qemu-img", "create", "-q", "-f", "qcow2", "--", _file(path), str(size), deadline=CHANGE_SECONDS)


async def resize(path: Path, size: int) -> None:
    """Let a qcow2 disk show ``size`` bytes; it never gets smaller."""
    await run("qemu-img", "resize", "-f", "qcow2", "--", _file(path), str(size), deadline=CHANGE_SECONDS)


async def rebase(path: Path, base: Path, base_format: str) -> None:
    """Name the file that a qcow2 overlay shows where it is empty; neither is read."""
    words = ("-u", "-f", "qcow2", "-F", _known(base_format), "-b", _file(base))
    await run("qemu-img", "rebase", *words, "--", _file(path), deadline=CHANGE_SECONDS)


async def check(path: Path, *, deadline: float = 120.0) -> None:
    """Raises ``Error`` when a qcow2 image is damaged."""
    await run("qemu-img", "check", "-f", "qcow2", "--", _file(path), deadline=deadline)


def _known(disk_format: str) -> str:
    if disk_format not in FORMATS:
        raise Invalid(f"The disk format {disk_format} is not one that guests are run from.")
    return disk_format


def _file(path: Path) -> str:
    """A path that QEMU cannot take for a protocol or for JSON."""
    return str(path.absolute())
