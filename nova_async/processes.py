"""Child processes that look at other people's data: bounded in time, memory and processor time."""

import asyncio
import contextlib
import os
import signal
from pathlib import Path

from nova_async.errors import Error, Unavailable

MEMORY_BYTES = 2**30
CPU_SECONDS = 60
NOT_FOUND = 127  # what prlimit, like a shell, ends with
OUTPUT_BYTES = 4 * 2**20
ENVIRONMENT = {
    "LC_ALL": "C",
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "MALLOC_ARENA_MAX": "2",  # an arena reserves 64 MiB of address space for each of QEMU's many threads
}


async def run(
    *command: str,
    deadline: float,
    memory_bytes: int = MEMORY_BYTES,
    cpu_seconds: int = CPU_SECONDS,
    told: bytes = b"",
    folder: Path | None = None,
) -> bytes:
    """What the command printed. ``told``: what it reads, at most 4 KiB, which no list of processes shows. ``folder``: where it runs.

    Raises ``Error`` when it fails, ``Unavailable`` when it is missing or takes too long.
    """
    limits = ("prlimit", f"--as={memory_bytes}", f"--cpu={cpu_seconds}", "--core=0", "--")
    pipe = await asyncio.to_thread(_filled, told) if told else None
    try:
        process = await asyncio.create_subprocess_exec(
            *limits,
            *command,
            stdin=asyncio.subprocess.DEVNULL if pipe is None else pipe,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=ENVIRONMENT,
            cwd=folder,
            start_new_session=True,  # so that its own children end with it
        )
    except FileNotFoundError:
        raise Unavailable("prlimit is not installed; install the package util-linux.") from None
    finally:
        if pipe is not None:
            os.close(pipe)
    reading = [asyncio.ensure_future(_all(stream)) for stream in (process.stdout, process.stderr)]
    try:
        async with asyncio.timeout(deadline):
            output, complaint = await asyncio.gather(*reading)
            await process.wait()
    except TimeoutError:
        raise Unavailable(f"{command[0]} took longer than {deadline:.0f} s.") from None
    finally:
        for stream in reading:
            stream.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.communicate()  # which ends only when what is left in the pipes has been read
    if process.returncode == NOT_FOUND:
        raise Unavailable(f"{command[0]} is not installed on this host.")
    if process.returncode != 0:
        raise Error(f"{command[0]} failed.", detail=complaint[-2000:].decode(errors="replace").strip())
    return output


def _filled(told: bytes) -> int:
    """A pipe, and no socket as some event loops make: that cannot be opened by its name. Its end to read from."""
    reading, writing = os.pipe()
    try:
        os.write(writing, told)
    finally:
        os.close(writing)
    return reading


async def _all(stream: asyncio.StreamReader | None) -> bytes:
    """What comes until the end. Raises ``Error`` when that is too much."""
    assert stream is not None
    output = bytearray()
    while data := await stream.read(65_536):
        output += data
        if len(output) > OUTPUT_BYTES:
            raise Error("A tool said more than anybody reads.")
    return bytes(output)
