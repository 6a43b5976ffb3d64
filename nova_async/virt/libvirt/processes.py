"""Child processes that look at other people's data: bounded in time, memory and processor time."""

import asyncio
import shutil

from nova_async.errors import Error, Unavailable

MEMORY_BYTES = 2**30
CPU_SECONDS = 60
OUTPUT_BYTES = 4 * 2**20


async def run(*command: str, deadline: float, memory_bytes: int = MEMORY_BYTES, cpu_seconds: int = CPU_SECONDS) -> bytes:
    """What the command printed. Raises ``Error`` when it fails, ``Unavailable`` when it is missing or takes too long."""
    process = await asyncio.create_subprocess_exec(
        *_limited(command, memory_bytes, cpu_seconds),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=OUTPUT_BYTES,
        env={"LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )
    try:
        async with asyncio.timeout(deadline):
            output, complaint = await process.communicate()
    except TimeoutError:
        raise Unavailable(f"{command[0]} took longer than {deadline:.0f} s.") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise Error(f"{command[0]} failed.", detail=complaint[-2000:].decode(errors="replace").strip())
    return output


def _limited(command: tuple[str, ...], memory_bytes: int, cpu_seconds: int) -> tuple[str, ...]:
    limiter = shutil.which("prlimit", path="/usr/sbin:/usr/bin:/sbin:/bin")
    if limiter is None:
        raise Unavailable("prlimit is not installed; install the package util-linux.")
    return (limiter, f"--as={memory_bytes}", f"--cpu={cpu_seconds}", "--core=0", "--", *command)
