"""Images are fetched once, proven, and dropped when nobody needs them."""

import asyncio
import hashlib
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from nova_async import qemu_img
from nova_async.errors import Conflict, Error, Invalid, NotFound, Unavailable, Unsupported
from nova_async.model.guests import ImageRef, Proof
from nova_async.services.image.signatures import Claim
from nova_async.virt.libvirt import image_cache, qcow2
from nova_async.virt.libvirt.files import FileThreads
from nova_async.virt.libvirt.image_cache import AWAY_SECONDS, ImageCache
from nova_async.world import RealWorld, SimulatedWorld, World
from tests.image.signing import Signer, family

from .conftest import quiet

RAW = os.urandom(4096) + bytes(3 * 2**20) + os.urandom(100)


class Images:
    """An image service that can be slow and can break off."""

    def __init__(self) -> None:
        self.data: dict[str, bytes] = {}
        self.downloads = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.failure: Error | None = None
        self.failures = 10**6  # how many downloads it breaks off

    async def download(self, image_id: str, start: int = 0) -> AsyncIterator[bytes]:
        self.downloads += 1
        if image_id not in self.data:
            raise NotFound("no such image")
        data = self.data[image_id][start:]
        if not start:
            yield data[:1000]
            data = data[1000:]
        await self.gate.wait()
        if self.failure and self.failures:
            self.failures -= 1
            raise self.failure
        for begin in range(0, len(data), 2**20):
            yield data[begin : begin + 2**20]

    def add(self, data: bytes, disk_format: str = "raw", **changes: object) -> ImageRef:
        image_id = f"image-{len(self.data)}"
        self.data[image_id] = data
        values: dict[str, object] = {"size_bytes": len(data), "sha512": hashlib.sha512(data).hexdigest(), **changes}
        return ImageRef(id=image_id, disk_format=disk_format, **values)


@pytest.fixture
def images() -> Images:
    return Images()


class Leaping(SimulatedWorld):
    """Who sleeps wakes at once, that much later."""

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)


@pytest.fixture
async def cache(tmp_path: Path, images: Images, world: RealWorld) -> AsyncIterator[ImageCache]:
    async with cache_in(tmp_path, images, world) as made:
        yield made


@asynccontextmanager
async def cache_in(folder: Path, images: Images, world: World) -> AsyncIterator[ImageCache]:
    files = FileThreads()
    cache = ImageCache(folder / "cache", images, files, world, keep_seconds=3600)
    await cache.open()
    yield cache
    await cache.close()
    assert list((folder / "cache").glob("*.part")) == []
    files.close()


async def get(cache: ImageCache, image: ImageRef) -> bytes:
    async with cache.image(image, quiet) as base:
        return await asyncio.to_thread(base.path.read_bytes)


async def test_an_image_is_kept_as_it_is_with_its_holes(cache: ImageCache, images: Images) -> None:
    image = images.add(RAW)
    async with cache.image(image, quiet) as base:
        assert (base.format, base.virtual_size) == ("raw", len(RAW))
        assert base.path.read_bytes() == RAW
        assert base.path.stat().st_blocks * 512 < len(RAW) // 2


async def test_guests_that_start_together_share_one_download_and_all_hear_of_it(cache: ImageCache, images: Images) -> None:
    image = images.add(RAW)
    heard: list[list[int | None]] = [[], [], []]

    async def use(number: int) -> None:
        async with cache.image(image, lambda percent, note: heard[number].append(percent)):
            pass

    await asyncio.gather(*(use(number) for number in range(3)))
    await use(0)
    assert images.downloads == 1
    assert [percents[-1] for percents in heard] == [100, 100, 100]


async def test_sec_009_no_property_of_an_image_makes_another_file(cache: ImageCache, images: Images, tmp_path: Path) -> None:
    """SEC-009: a file is named after what it holds, whatever its owner says about it; and it goes when nobody needs it."""
    image = images.add(RAW)
    for number in range(1000):
        properties = {"os_type": f"type-{number}", "hw_disk_bus": f"{number}", "../escape": "/" * number}
        assert await get(cache, msgspec.structs.replace(image, properties=properties, min_disk_gib=number)) == RAW
    assert (images.downloads, len(list((tmp_path / "cache").iterdir()))) == (1, 1)
    os.utime(next((tmp_path / "cache").iterdir()), (0, 0))
    await cache.sweep(set())
    assert list((tmp_path / "cache").iterdir()) == []


async def test_one_of_two_who_wait_may_leave(cache: ImageCache, images: Images) -> None:
    image = images.add(RAW)
    images.gate.clear()
    leaver, stayer = (asyncio.create_task(get(cache, image)) for _ in range(2))
    await asyncio.sleep(0.05)
    leaver.cancel()
    await asyncio.wait([leaver])
    images.gate.set()
    assert await stayer == RAW
    assert images.downloads == 1


async def test_a_download_nobody_waits_for_any_more_ends(cache: ImageCache, images: Images) -> None:
    image = images.add(RAW)
    images.gate.clear()
    alone = asyncio.create_task(get(cache, image))
    await asyncio.sleep(0.05)
    alone.cancel()
    await asyncio.wait([alone], timeout=5)
    images.gate.set()
    assert await get(cache, image) == RAW
    assert images.downloads == 2


async def test_a_download_that_fails_is_tried_again_by_the_next_guest(cache: ImageCache, images: Images) -> None:
    image = images.add(RAW)
    images.failure = Conflict("the image has no data yet")
    with pytest.raises(Conflict, match="no data yet"):
        await get(cache, image)
    images.failure = None
    assert await get(cache, image) == RAW


async def test_a_download_goes_on_where_it_stopped_when_the_image_service_is_back(images: Images, tmp_path: Path) -> None:
    image = images.add(RAW)
    images.failure, images.failures = Unavailable("the image service went away"), 5
    async with cache_in(tmp_path, images, Leaping()) as cache:
        assert await get(cache, image) == RAW
    assert images.downloads == 6


async def test_an_image_service_that_stays_away_fails_the_download(images: Images, tmp_path: Path) -> None:
    image, world = images.add(RAW), Leaping()
    images.failure = Unavailable("the image service went away")
    async with cache_in(tmp_path, images, world) as cache:
        with pytest.raises(Unavailable, match="went away"):
            await get(cache, image)
    assert AWAY_SECONDS < world.monotonic() < AWAY_SECONDS + 10


@pytest.mark.parametrize("lie", [{"sha512": "0" * 128}, {"size_bytes": len(RAW) - 1}, {"size_bytes": len(RAW) + 1}])
async def test_bytes_that_are_not_what_was_promised_are_refused(
    cache: ImageCache, images: Images, tmp_path: Path, lie: dict[str, object]
) -> None:
    image = images.add(RAW, **lie)
    with pytest.raises(Invalid):
        await get(cache, image)
    assert list((tmp_path / "cache").iterdir()) == []


async def test_a_format_that_guests_cannot_run_from_is_refused_before_any_download(cache: ImageCache, images: Images) -> None:
    with pytest.raises(Unsupported, match="vmdk"):
        await get(cache, images.add(RAW, disk_format="vmdk"))
    assert images.downloads == 0


def proof(signer: Signer, data: bytes, *way: Signer) -> Proof:
    """``way``: who is trusted; nobody needs to be where it is empty."""
    trusted = tuple(each.pem.decode() for each in way) or None
    return Proof(properties=signer.signed(data), certificate=signer.pem.decode(), trusted=trusted)


async def test_a_signed_image_is_used_and_read_once_for_all_guests(
    cache: ImageCache, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[Path] = []
    hashed = image_cache._hashed

    def counted(path: Path, claim: Claim) -> bytes:
        reads.append(path)
        return hashed(path, claim)

    monkeypatch.setattr(image_cache, "_hashed", counted)
    image = msgspec.structs.replace(images.add(RAW), proof=proof(Signer("signer"), RAW))
    for _ in range(3):
        assert await get(cache, image) == RAW
    again = msgspec.structs.replace(image, proof=proof(Signer("other", key_type="RSA-PSS"), RAW))
    assert await get(cache, again) == RAW
    assert (images.downloads, len(reads)) == (1, 1)


async def test_bytes_that_were_not_signed_are_not_used(cache: ImageCache, images: Images) -> None:
    image = msgspec.structs.replace(images.add(RAW), proof=proof(Signer("signer"), RAW[1:]))
    with pytest.raises(Invalid, match="not those that were signed"):
        await get(cache, image)


async def test_an_image_that_came_without_a_proof_is_verified_before_it_is_used_with_one(
    images: Images, tmp_path: Path, world: World
) -> None:
    image = images.add(RAW)
    signed = msgspec.structs.replace(image, proof=proof(Signer("signer"), RAW))
    async with cache_in(tmp_path, images, world) as cache:
        assert await get(cache, image) == RAW
        wrong = msgspec.structs.replace(image, proof=proof(Signer("signer"), RAW + b"more"))
        with pytest.raises(Invalid, match="not those that were signed"):
            await get(cache, wrong)
        assert await get(cache, signed) == RAW
    (kept,) = (tmp_path / "cache").iterdir()
    kept.chmod(0o600)
    with kept.open("r+b") as file:
        file.write(b"tampered")
    async with cache_in(tmp_path, images, world) as cache:
        with pytest.raises(Invalid, match="not those that were signed"):
            await get(cache, signed)
    assert images.downloads == 1


@pytest.mark.parametrize("late", [True, False], ids=["expired", "untrusted"])
async def test_a_signer_whom_nobody_vouches_for_is_refused_before_any_download(cache: ImageCache, images: Images, late: bool) -> None:
    root, middle, signer = family(signer=(-10, -1)) if late else family()
    way = (middle, root) if late else (middle,)
    with pytest.raises(Invalid, match="is valid from" if late else "None of the trusted certificates"):
        await get(cache, msgspec.structs.replace(images.add(RAW), proof=proof(signer, RAW, *way)))
    assert images.downloads == 0


@pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is not installed")
async def test_a_qcow2_image_that_reads_another_file_is_refused(cache: ImageCache, images: Images, tmp_path: Path) -> None:
    qcow2.create(tmp_path / "alone", 2**20)
    qcow2.create(tmp_path / "spy", 2**20, Path("/etc/passwd"), "raw")
    data_file, encrypted = (bytearray((tmp_path / "alone").read_bytes()) for _ in range(2))
    data_file[79] |= qcow2.DATA_FILE_BIT
    encrypted[35] = 2
    bad = {"backing file": (tmp_path / "spy").read_bytes(), "data file": bytes(data_file), "encrypted": bytes(encrypted)}
    for reason, data in bad.items():
        with pytest.raises(Invalid, match=reason):
            await get(cache, images.add(data, disk_format="qcow2"))
    assert await get(cache, images.add((tmp_path / "alone").read_bytes(), disk_format="qcow2"))


async def test_a_qcow2_image_that_is_none_is_refused(cache: ImageCache, images: Images) -> None:
    with pytest.raises(Invalid):
        await get(cache, images.add(RAW, disk_format="qcow2"))


async def test_only_what_nobody_uses_and_nobody_asked_for_lately_is_swept(cache: ImageCache, images: Images, tmp_path: Path) -> None:
    names = []
    for number in range(4):
        async with cache.image(images.add(RAW + bytes([number])), quiet) as base:
            names.append(base.path.name)
    old, in_use, fresh, pinned = names
    for name in (old, in_use, pinned):
        os.utime(tmp_path / "cache" / name, (0, 0))
    async with cache.image(ImageRef(id="image-3", disk_format="raw", size_bytes=1, sha512=pinned.partition(".")[0]), quiet):
        os.utime(tmp_path / "cache" / pinned, (0, 0))
        assert await cache.sweep({in_use}) == [old]
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {in_use, fresh, pinned}


async def test_what_an_earlier_process_left_half_done_is_removed(cache: ImageCache, tmp_path: Path) -> None:
    (tmp_path / "cache" / "left.part").write_text("half")
    await cache.open()
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is not installed")
@pytest.mark.parametrize("size", [512, 2**20, 512 * 2**20, 513 * 2**20, 5 * 2**40])
async def test_our_qcow2_files_are_sound_in_qemus_eyes(tmp_path: Path, size: int) -> None:
    base, overlay = tmp_path / "base", tmp_path / "overlay"
    qcow2.create(base, size)
    qcow2.create(overlay, size, base, "qcow2")
    for path in (base, overlay):
        await qemu_img.check(path)
        facts = await qemu_img.info(path, "qcow2")
        assert facts["virtual-size"] == size
    assert (facts["backing-filename"], facts["backing-filename-format"]) == (str(base), "qcow2")
    assert qcow2.read_header(overlay).backing_file == str(base)


@pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is not installed")
async def test_an_overlay_reads_as_its_base_and_then_zeros(tmp_path: Path) -> None:
    (tmp_path / "base").write_bytes(RAW[:4096])
    qcow2.create(tmp_path / "overlay", 8192, tmp_path / "base", "raw")
    await qemu_img.convert(tmp_path / "overlay", "qcow2", tmp_path / "flat", "raw")
    assert (tmp_path / "flat").read_bytes() == RAW[:4096] + bytes(4096)
