"""Files that lie: each is refused, the image stays queued and the store empty. Test names carry the advisory's key."""

import asyncio
import hashlib
import os
import random
import shutil
import struct
import time
from pathlib import Path

import pytest

from nova_async.errors import Invalid
from nova_async.services.image.blank import blank_qcow2
from nova_async.services.image.inspect import ACCEPTED, Inspection

from .conftest import QCOW2, Client, Service

CANARY = b"canary-7c1f0f2e-of-the-host"
CLUSTER = 65_536
needs_qemu_img = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="needs qemu-img")
HEADER = b"KDMV" + struct.pack("<IIQQQQIQQ", 1, 3, 2048, 128, 1, 20, 512, 21, 26)


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A file of the host that no image may reach."""
    path = tmp_path / "canary"
    path.write_bytes(CANARY * 40)
    return path


async def is_refused(anna: Client, service: Service, data: bytes, disk_format: str, case: str = "") -> str:
    """The public message; the image must be left as if nothing had been sent. ``case`` names itself where it fails."""
    container = disk_format if disk_format in ("ami", "aki", "ari") else "bare"
    image_id = await anna.image(disk_format=disk_format, container_format=container)
    try:
        message = str((await anna.send(image_id, data, 400))["message"])
    except AssertionError as error:
        error.add_note(f"{case} as {disk_format}")
        raise
    assert (await anna.show(image_id))["status"] == "queued"
    assert service.files() == []
    assert CANARY.decode() not in message
    return message


def patched(data: bytes, *changes: tuple[int, bytes]) -> bytes:
    copy = bytearray(data)
    for offset, octets in changes:
        copy[offset : offset + len(octets)] = octets
    return bytes(copy)


def u32(value: int) -> bytes:
    return struct.pack(">I", value)


def u64(value: int) -> bytes:
    return struct.pack(">Q", value)


def extension(kind: int, data: bytes) -> bytes:
    return u32(kind) + u32(len(data)) + data.ljust(-(-len(data) // 8) * 8, b"\0")


# SEC-002: backing files


NAMES = ("{path}", "canary", 'json:{{"driver":"file","filename":"{path}"}}', "nbd:unix:{path}", "http://127.0.0.1/")


async def test_sec_002_a_qcow2_with_a_backing_file_is_refused(canary: Path, anna: Client, service: Service) -> None:
    for form in NAMES:
        name = form.format(path=canary).encode()
        for version in (2, 3):
            lying = patched(QCOW2, (4, u32(version)), (8, u64(512)), (16, u32(len(name))), (512, name))
            assert "backing file" in await is_refused(anna, service, lying, "qcow2", form)
            await is_refused(anna, service, lying, "raw", form)
    assert canary.read_bytes() == CANARY * 40


@needs_qemu_img
async def test_sec_002_a_real_overlay_is_refused(canary: Path, tmp_path: Path, anna: Client, service: Service) -> None:
    overlay = tmp_path / "overlay.qcow2"
    await run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(canary), str(overlay))
    await is_refused(anna, service, overlay.read_bytes(), "qcow2")


async def test_sec_002_a_named_backing_format_is_refused_too(anna: Client, service: Service) -> None:
    await is_refused(anna, service, patched(QCOW2, (104, extension(0xE2792ACA, b"raw"))), "qcow2")


# SEC-003: sizes


async def test_sec_003_a_huge_virtual_size_is_refused(anna: Client, service: Service) -> None:
    for size in (2**50, 2**63, 2**64 - 1, 2**30 + 2**20):
        lying = patched(QCOW2, (24, u64(size)), (36, u32(2**20)))
        await is_refused(anna, service, lying, "qcow2")
    assert "virtual size" in await is_refused(anna, service, blank_qcow2(1025), "qcow2")


async def test_sec_003_an_l1_table_too_small_for_the_claim_is_refused(anna: Client, service: Service) -> None:
    assert "L1" in await is_refused(anna, service, patched(QCOW2, (24, u64(2**29 + 512))), "qcow2")


@needs_qemu_img
@pytest.mark.parametrize("form", ["qcow2", "vmdk", "vdi", "vhdx", "vpc"])
async def test_sec_003_a_small_file_of_a_large_disk_is_refused(form: str, tmp_path: Path, anna: Client, service: Service) -> None:
    path = tmp_path / "large"
    await run("qemu-img", "create", "-q", "-f", form, str(path), "40G")
    data = path.read_bytes()
    assert len(data) < 2**24
    assert "virtual size" in await is_refused(anna, service, data, "vhd" if form == "vpc" else form)


# SEC-004: headers written over a raw disk


@needs_qemu_img
@pytest.mark.parametrize("form", ["qcow2", "vmdk", "qed", "parallels", "vdi", "vpc", "vhdx"])
async def test_sec_004_a_header_over_a_raw_disk_is_refused(form: str, canary: Path, tmp_path: Path, anna: Client, service: Service) -> None:
    path = tmp_path / "header"
    await run("qemu-img", "create", "-q", "-f", form, str(path), "1M")
    disk = path.read_bytes() + CANARY + b"\0" * 2**20
    for declared in ("raw", "ami", "aki", "ari"):
        await is_refused(anna, service, disk, declared)


@pytest.mark.parametrize("version", [1, 2])
async def test_sec_004_a_luks_header_over_a_raw_disk_is_refused(version: int, anna: Client, service: Service) -> None:
    for declared in ("raw", "qcow2", "iso"):
        await is_refused(anna, service, luks(version), declared)


# SEC-005: VMDK


def vmdk(descriptor: str, header: bytes = HEADER) -> bytes:
    return header.ljust(512, b"\0") + descriptor.encode().ljust(20 * 512, b"\0") + b"\0" * 65_536


DESCRIPTOR = """# Disk DescriptorFile
version=1
CID=6f2f1b2c
parentCID=ffffffff
createType="monolithicSparse"

RW 2048 SPARSE "disk.vmdk"

ddb.virtualHWVersion = "4"
"""

LIES = {
    "flat": DESCRIPTOR.replace("monolithicSparse", "monolithicFlat").replace("SPARSE", "FLAT").replace('vmdk"', 'vmdk" 0'),
    "two-gb": DESCRIPTOR.replace("monolithicSparse", "twoGbMaxExtentSparse"),
    "vmfs": DESCRIPTOR.replace("monolithicSparse", "vmfs"),
    "custom": DESCRIPTOR.replace("monolithicSparse", "custom"),
    "device": DESCRIPTOR.replace("monolithicSparse", "fullDevice"),
    "no-type": DESCRIPTOR.replace('createType="monolithicSparse"', ""),
    "absolute-extent": DESCRIPTOR.replace("disk.vmdk", "/etc/passwd"),
    "relative-extent": DESCRIPTOR.replace("disk.vmdk", "../canary"),
    "flat-extent": DESCRIPTOR.replace('SPARSE "disk.vmdk"', 'FLAT "canary" 0'),
    "two-extents": DESCRIPTOR.replace("\nddb", 'RW 2048 SPARSE "canary"\nddb'),
    "no-extent": DESCRIPTOR.replace('RW 2048 SPARSE "disk.vmdk"', ""),
    "url-extent": DESCRIPTOR.replace("disk.vmdk", "nbd:localhost:10809"),
    "parent": DESCRIPTOR.replace("parentCID=ffffffff", 'parentCID=12345678\nparentFileNameHint="canary"'),
    "parent-hint": DESCRIPTOR.replace("createType", 'parentFileNameHint="canary"\ncreateType'),
    "parent-cid": DESCRIPTOR.replace("ffffffff", "00000001"),
    "two-types": DESCRIPTOR.replace("version=1", 'version=1\ncreateType="monolithicFlat"'),
    "two-descriptors": DESCRIPTOR + DESCRIPTOR.replace("monolithicSparse", "monolithicFlat"),
    "unknown-line": DESCRIPTOR + "include canary\n",
}


async def test_sec_005_a_plain_monolithic_sparse_vmdk_is_taken(anna: Client) -> None:
    """The others of this section differ from it in one thing each."""
    assert (await anna.show(await anna.active(vmdk(DESCRIPTOR), disk_format="vmdk")))["virtual_size"] == 2**20


async def test_sec_005_a_vmdk_that_names_other_files_is_refused(anna: Client, service: Service) -> None:
    for name, lie in LIES.items():
        await is_refused(anna, service, vmdk(lie), "vmdk", name)
        await is_refused(anna, service, lie.encode().ljust(2048, b"\n"), "vmdk", name)
        await is_refused(anna, service, lie.encode(), "raw", name)


async def test_sec_005_a_vmdk_without_a_capacity_is_refused(anna: Client, service: Service) -> None:
    """Without one QEMU believes the descriptor's extents."""
    await is_refused(anna, service, vmdk(DESCRIPTOR, patched(HEADER, (12, b"\0" * 8))), "vmdk")
    await is_refused(anna, service, b"COWD" + vmdk(DESCRIPTOR)[4:], "vmdk")
    await is_refused(anna, service, b"COWD" + vmdk(DESCRIPTOR)[4:], "raw")


@needs_qemu_img
@pytest.mark.parametrize("subformat", ["monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat"])
async def test_sec_005_every_real_subformat_in_several_files_is_refused(
    subformat: str, tmp_path: Path, anna: Client, service: Service
) -> None:
    await run("qemu-img", "create", "-q", "-f", "vmdk", "-o", f"subformat={subformat}", str(tmp_path / "v.vmdk"), "1M")
    await is_refused(anna, service, (tmp_path / "v.vmdk").read_bytes(), "vmdk")


async def test_sec_005_a_footer_that_contradicts_the_header_is_refused(anna: Client, service: Service) -> None:
    """A header that says so is replaced by the footer, which a reader of the stream has not seen."""
    header = patched(HEADER, (56, b"\xff" * 8))
    body = vmdk(DESCRIPTOR.replace("monolithicSparse", "streamOptimized"), header)
    good = body + struct.pack("<QII", 1, 0, 3).ljust(512, b"\0") + HEADER.ljust(512, b"\0") + b"\0" * 512
    for lie in ((12, struct.pack("<Q", 2**20)), (12, b"\0" * 8), (28, struct.pack("<Q", 2)), (4, u32(9)), (56, b"\xff" * 8)):
        await is_refused(anna, service, patched(good, (len(body) + 512 + lie[0], lie[1])), "vmdk")
    await is_refused(anna, service, good[:-512], "vmdk")
    assert (await anna.show(await anna.active(good, disk_format="vmdk")))["virtual_size"] == 2**20


@needs_qemu_img
async def test_sec_005_a_real_stream_optimised_vmdk_is_taken(tmp_path: Path, anna: Client) -> None:
    (tmp_path / "raw").write_bytes(os.urandom(2**17))
    await run("qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", f"{tmp_path}/raw", f"{tmp_path}/v.vmdk")
    assert (await anna.show(await anna.active((tmp_path / "v.vmdk").read_bytes(), disk_format="vmdk")))["virtual_size"] == 2**17


# SEC-006: qcow2 features and tables


BROKEN = {
    "data-file-bit": [(72, u64(1 << 2))],
    "corrupt-bit": [(72, u64(1 << 1))],
    "extended-l2-bit": [(72, u64(1 << 4))],
    "unknown-low-bit": [(72, u64(1 << 5))],
    "unknown-high-bit": [(72, u64(1 << 63))],
    "data-file-name": [(104, extension(0x44415441, b"/etc/passwd"))],
    "data-file-name-behind-another": [(104, extension(0x6803F857, b"x" * 48) + extension(0x44415441, b"/etc/passwd"))],
    "extension-too-long": [(104, u32(0x6803F857) + u32(2**31))],
    "header-length-short": [(100, u32(72))],
    "header-length-long": [(100, u32(2**20))],
    "header-length-odd": [(100, u32(107))],
    "version-1": [(4, u32(1))],
    "version-4": [(4, u32(4))],
    "cluster-bits-small": [(20, u32(8))],
    "cluster-bits-large": [(20, u32(63))],
    "encrypted": [(32, u32(2))],
    "l1-outside": [(40, u64(CLUSTER * 900))],
    "l1-overflowing": [(40, u64(2**64 - CLUSTER))],
    "l1-unaligned": [(40, u64(CLUSTER * 3 + 8))],
    "l1-too-large": [(36, u32(2**32 - 1))],
    "l1-missing": [(36, u32(0))],
    "l2-outside": [(3 * CLUSTER, u64(1 << 63 | CLUSTER * 900))],
    "refcounts-outside": [(48, u64(CLUSTER * 900))],
    "refcounts-missing": [(56, u32(0))],
    "snapshots-outside": [(60, u32(9)), (64, u64(CLUSTER * 900))],
}


async def test_sec_006_a_qcow2_with_dangerous_or_broken_headers_is_refused(anna: Client, service: Service) -> None:
    for fault, changes in BROKEN.items():
        await is_refused(anna, service, patched(QCOW2, *changes), "qcow2", fault)


async def test_sec_006_a_truncated_qcow2_is_refused(anna: Client, service: Service) -> None:
    for length in (4, 71, 104, 511, 512, 513, CLUSTER, 3 * CLUSTER, 3 * CLUSTER + 7):
        await is_refused(anna, service, QCOW2[:length], "qcow2", str(length))
        await is_refused(anna, service, QCOW2[:length], "raw", str(length))


@needs_qemu_img
async def test_sec_006_a_real_external_data_file_is_refused(tmp_path: Path, anna: Client, service: Service) -> None:
    path = tmp_path / "d.qcow2"
    await run("qemu-img", "create", "-q", "-f", "qcow2", "-o", f"data_file={tmp_path}/data.raw,data_file_raw=on", str(path), "1M")
    await is_refused(anna, service, path.read_bytes(), "qcow2")


@needs_qemu_img
@pytest.mark.parametrize(
    "options",
    ["compat=0.10", "compat=1.1", "cluster_size=512", "cluster_size=2M", "preallocation=metadata", "compression_type=zstd",
     "lazy_refcounts=on", "refcount_bits=1"],
)  # fmt: skip
@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "compressed"])
async def test_sec_006_an_honest_qcow2_is_taken(options: str, compressed: bool, tmp_path: Path, anna: Client) -> None:
    if compressed and options == "preallocation=metadata":
        pytest.skip("qemu-img refuses the pair")
    (tmp_path / "raw").write_bytes(random.Random(5).randbytes(300_000).ljust(2**20, b"\0"))
    flags = ["-c"] if compressed else []
    await run("qemu-img", "convert", *flags, "-f", "raw", "-O", "qcow2", "-o", options, f"{tmp_path}/raw", f"{tmp_path}/q")
    shown = await anna.show(await anna.active((tmp_path / "q").read_bytes()))
    assert (shown["status"], shown["virtual_size"]) == ("active", 2**20)


@needs_qemu_img
async def test_sec_006_an_internal_snapshot_does_no_harm(tmp_path: Path, anna: Client) -> None:
    path = tmp_path / "q"
    path.write_bytes(QCOW2)
    await run("qemu-img", "snapshot", "-c", "before", str(path))
    assert (await anna.show(await anna.active(path.read_bytes())))["status"] == "active"


async def test_sec_006_three_thousand_mutations_neither_crash_nor_hang_the_inspector(tmp_path: Path) -> None:
    """A seeded sample; a mutation is either taken or refused as ``Invalid``, in under a second each."""
    seeds = {"qcow2": QCOW2[: 3 * CLUSTER + 64], "vmdk": vmdk(DESCRIPTOR), "vdi": vdi(), "vhd": b"conectix".ljust(4096, b"\0")}
    chance, path, slowest = random.Random(20_240_702), tmp_path / "f", 0.0
    for number in range(750):
        for form, seed in seeds.items():
            data = bytearray(seed[: chance.choice((600, 5000, len(seed)))] if number % 5 == 0 else seed)
            for _ in range(chance.randint(1, 6)):
                data[chance.randrange(min(len(data), chance.choice((128, 1024, 2**20))))] = chance.choice(
                    (0, 1, 255, chance.randrange(256))
                )
            began = time.perf_counter()
            judge(path, bytes(data), form if number % 3 else chance.choice(list(ACCEPTED)))
            slowest = max(slowest, time.perf_counter() - began)
            if number % 50:
                continue
            await asyncio.sleep(0)
    assert slowest < 1.0


# SEC-007: declared as something else


@needs_qemu_img
async def test_sec_007_every_format_declared_as_every_other_is_refused(tmp_path: Path, anna: Client, service: Service) -> None:
    samples = await make_samples(tmp_path)
    allowed = {("gpt", "raw"), ("raw", "raw"), *((name, name) for name in ("qcow2", "vmdk", "vdi", "vhd", "vhdx", "iso", "hybrid"))}
    allowed |= {(name, declared) for name in ("raw", "gpt") for declared in ("ami", "aki", "ari")} | {("hybrid", "iso")}
    outcomes = {(n, d) for n, data in samples.items() for d in ACCEPTED if await asyncio.to_thread(judge, tmp_path / "f", data, d)}
    assert outcomes == {pair for pair in allowed if pair[1] in ACCEPTED}
    for name, declared in (("qcow2", "raw"), ("vmdk", "iso"), ("raw", "qcow2"), ("iso", "raw"), ("qed", "raw"), ("luks", "qcow2")):
        await is_refused(anna, service, samples[name], declared)


async def test_sec_007_two_formats_in_one_file_are_refused(anna: Client, service: Service) -> None:
    volume = b"\x01CD001\x01"
    for polyglot in (
        patched(QCOW2, (0x8000, volume)),
        patched(QCOW2, (510, b"\x55\xaa")),
        patched(QCOW2, (0x40, b"\x7f\x10\xda\xbe")),
        patched(vmdk(DESCRIPTOR), (0x8000, volume)),
    ):
        for declared in ("raw", "iso", "qcow2", "vmdk", "vdi"):
            await is_refused(anna, service, polyglot, declared)


@pytest.mark.parametrize("disk_format", ["gpt", "luks", "qed", "ploop", "auto", "", "RAW", "qcow2 ", "../raw"])
async def test_sec_007_a_format_off_the_list_cannot_be_declared(disk_format: str, anna: Client) -> None:
    await anna("POST", "/v2/images", 400, json={"name": "x", "disk_format": disk_format, "container_format": "bare"})


# Parents of the other formats


async def test_a_vdi_or_vhd_with_a_parent_is_refused(anna: Client, service: Service) -> None:
    assert (await anna.show(await anna.active(vdi(), disk_format="vdi")))["virtual_size"] == 2**20
    await anna("DELETE", f"/v2/images/{(await anna('GET', '/v2/images', 200))['images'][0]['id']}", 204)
    await is_refused(anna, service, patched(vdi(), (0x1B8, b"parent")), "vdi")
    await is_refused(anna, service, patched(vdi(), (0x1A8, b"link")), "vdi")
    await is_refused(anna, service, patched(vdi(), (0x4C, struct.pack("<I", 4))), "vdi")
    await is_refused(anna, service, patched(vdi(), (0x180, struct.pack("<I", 2**31))), "vdi")
    await is_refused(anna, service, b"conectix" + b"\0" * 52 + u32(4) + b"\0" * 2000, "vhd")


@needs_qemu_img
async def test_a_vhdx_with_a_parent_is_refused(tmp_path: Path, anna: Client, service: Service) -> None:
    await run("qemu-img", "create", "-q", "-f", "vhdx", str(tmp_path / "x"), "1M")
    good = (tmp_path / "x").read_bytes()
    table = good.index(b"metadata")
    entry = good.index(bytes.fromhex("3767a1ca36fa434db3b633f0aa44e76b"), table)
    flags = table + struct.unpack("<I", good[entry + 16 : entry + 20])[0] + 4
    await is_refused(anna, service, patched(good, (flags, struct.pack("<I", 2))), "vhdx")


# SEC-011: what is served is what was hashed


async def test_sec_011_the_recorded_hash_is_of_the_bytes_that_are_served(anna: Client) -> None:
    shown = await anna.show(await anna.active())
    data = await anna("GET", shown["file"], 200)
    assert hashlib.sha512(data).hexdigest() == shown["os_hash_value"]
    for name in ("checksum", "os_hash_value", "os_hash_algo", "size"):
        await anna.patch(shown["id"], 403, {"op": "replace", "path": f"/{name}", "value": "0"})


@needs_qemu_img
async def test_our_blank_disks_satisfy_qemu_img(tmp_path: Path) -> None:
    for mib in (1, 512, 513, 10_000):
        (tmp_path / "q").write_bytes(blank_qcow2(mib))
        await run("qemu-img", "check", "-q", "-f", "qcow2", str(tmp_path / "q"))
        await run("qemu-img", "convert", "-f", "qcow2", "-O", "qcow2", str(tmp_path / "q"), str(tmp_path / "copy"))


def judge(path: Path, data: bytes, disk_format: str) -> bool:
    """Whether the inspector takes the bytes; raises whatever is not ``Invalid``."""
    inspection = Inspection(disk_format, 2**30)
    path.write_bytes(data)
    try:
        inspection.feed(data)
        with path.open("rb") as file:
            inspection.finish(file.fileno(), len(data))
    except Invalid:
        return False
    return True


def luks(version: int) -> bytes:
    names = b"aes".ljust(32, b"\0") + b"xts-plain64".ljust(32, b"\0") + b"sha256".ljust(32, b"\0")
    return (b"LUKS\xba\xbe" + struct.pack(">H", version) + names + u32(4096) + u32(64)).ljust(2**20, b"\0")


def vdi() -> bytes:
    head = bytearray(512)
    head[0x40:0x54] = struct.pack("<IIIII", 0xBEDA107F, 0x00010001, 0x190, 1, 0)
    head[0x154:0x15C] = struct.pack("<II", 512, 1024)
    head[0x170:0x188] = struct.pack("<QIIII", 2**20, 2**20, 0, 1, 0)
    return bytes(head) + b"\xff" * 4 + b"\0" * 1020


async def make_samples(folder: Path) -> dict[str, bytes]:
    samples = {"raw": random.Random(1).randbytes(100_000), "gpt": mbr() + b"\0" * 99_488}
    for form, name in (("qcow2",) * 2, ("qed",) * 2, ("vmdk",) * 2, ("vdi",) * 2, ("vpc", "vhd"), ("vhdx",) * 2, ("parallels",) * 2):
        await run("qemu-img", "create", "-q", "-f", form, str(folder / name), "1M")
        samples[name] = (folder / name).read_bytes()
    iso = bytearray(100_000)
    iso[0x8000:0x8007] = b"\x01CD001\x01"
    hybrid = mbr() + bytes(iso[512:])
    return samples | {"luks": luks(1), "iso": bytes(iso), "hybrid": hybrid}


def mbr() -> bytes:
    return b"\x90" * 446 + bytes([0x80, 1, 1, 0, 0x83, 1, 1, 0]) + struct.pack("<II", 1, 100) + b"\0" * 48 + b"\x55\xaa"


async def run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
    out, _ = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0, out.decode()
