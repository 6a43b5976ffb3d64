"""A tiny real Linux guest, made from Debian packages: it says on its console what it found.

It logs in ``root`` with the ssh key from the metadata (without a key: the empty password), on port 22, and gives a
root shell on its consoles.
``build-test-image`` (a shell script beside this file) lists every line that it prints.
"""

import asyncio
from importlib.resources import as_file, files
from pathlib import Path

from nova_async import log
from nova_async.errors import Unavailable
from nova_async.world import World

BUILD_SECONDS = 300.0
KERNEL, RAMDISK, IMAGE = "vmlinuz", "initrd.img", "test.qcow2"

log_ = log.get("virt.testguest")


async def build(folder: Path, world: World, *, install: bool = False) -> Path:
    """The path of ``<folder>/test.qcow2``, made now if it is not there; ``vmlinuz`` and ``initrd.img`` are beside it.

    Needs a Debian machine and its package mirror. ``install`` lets apt install missing build tools.
    Raises ``Unavailable``, saying what is missing.
    """
    image = folder / IMAGE
    if await asyncio.to_thread(image.exists):
        return image
    started = world.monotonic()
    await asyncio.to_thread(lambda: folder.mkdir(parents=True, exist_ok=True))
    with as_file(files("nova_async.virt.testguest") / "build-test-image") as script:
        await _run("sh", str(script), str(folder), *(("--install",) if install else ()))
    log_.info("testguest.built", seconds=round(world.monotonic() - started, 1))
    return image


async def _run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(BUILD_SECONDS):
            _, complaint = await process.communicate()
    except TimeoutError:
        raise Unavailable(f"The test guest was not built within {BUILD_SECONDS:.0f} s.") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        last = complaint.decode(errors="replace").strip().splitlines()[-1:]
        raise Unavailable(
            f"The test guest could not be built: {' '.join(last) or 'see the log'}", detail=complaint.decode(errors="replace")
        )
