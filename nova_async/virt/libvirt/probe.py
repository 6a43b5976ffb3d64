"""Whether this machine can run guests on KVM: only a guest that really booted is believed.

``/dev/kvm`` may be there, and libvirt may list KVM, where guests hang before their kernel's first line
(nested or paravirtual implementations). The answer is kept in ``<state>/kvm-probe.json`` for the kernel and QEMU it was found with.
"""

import asyncio
import os
import platform
import shutil
from pathlib import Path

import msgspec

from nova_async import log
from nova_async.errors import Error, Unavailable

HARDWARE_MODULES = {"x86_64": ("kvm_intel", "kvm_amd")}
BOOT_SECONDS = 20.0
PROOF = (b"Run /init as init", b"Unable to mount root fs", b"Run /sbin/init as init")  # far behind all that a kernel does first
OUTPUT_BYTES = 256 * 2**10

log_ = log.get("virt.probe")


class Answer(msgspec.Struct, frozen=True):
    machine: str  # what the answer holds for
    works: bool
    reason: str


async def choose_virt_type(wanted: str, state_dir: Path) -> str:
    """``kvm`` or ``qemu``. Raises ``Unavailable`` when ``wanted`` is something else."""
    if wanted in ("kvm", "qemu"):
        return wanted
    if wanted != "auto":
        raise Unavailable(f"compute.virt_type is {wanted!r}; set it to auto, kvm or qemu.")
    answer = await _probe(state_dir)
    log_.info("kvm.probed", works=answer.works, reason=answer.reason)
    return "kvm" if answer.works else "qemu"


async def _probe(state_dir: Path) -> Answer:
    answer, kernel = await asyncio.to_thread(_without_booting, state_dir)
    if kernel is not None:
        works = await boots(kernel)
        answer = Answer(answer.machine, works, "a guest booted" if works else "a guest did not boot")
        await asyncio.to_thread(_write, state_dir / "kvm-probe.json", answer)
    return answer


def _without_booting(state_dir: Path) -> tuple[Answer, Path | None]:
    """The answer, or a kernel to find it with."""
    machine = f"{platform.machine()} {platform.release()} {Path(_qemu()).stat().st_mtime_ns}"
    if (reason := _obstacle()) is not None:
        return Answer(machine, False, reason), None
    kept = _read(state_dir / "kvm-probe.json")
    if kept is not None and kept.machine == machine:
        return kept, None
    reason = "no kernel to try it with is in /boot; set compute.virt_type to kvm if you know that it works"
    return Answer(machine, False, reason), _kernel(state_dir)


def _obstacle() -> str | None:
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "/dev/kvm is missing or closed to this user"
    modules = HARDWARE_MODULES.get(platform.machine(), ())
    if modules and not any(Path("/sys/module", module).exists() for module in modules):
        return "KVM does not use the processor's virtualization here"
    return None


def _qemu() -> str:
    name = f"qemu-system-{platform.machine()}"
    path = shutil.which(name)
    if path is None:
        raise Unavailable(f"{name} is not installed; install the package qemu-system-x86, or set compute.driver to fake.")
    return path


def _kernel(state_dir: Path) -> Path | None:
    candidates = [Path(f"/boot/vmlinuz-{platform.release()}"), *sorted(Path("/boot").glob("vmlinuz*"), reverse=True)]
    candidates.append(state_dir / "testguest" / "vmlinuz")
    return next((path for path in candidates if os.access(path, os.R_OK)), None)


async def boots(kernel: Path, accelerator: str = "kvm", cpu: str = "host") -> bool:
    """Boot a kernel without a disk: it ends in a panic for want of a root file system, or never gets there."""
    command = [
        f"qemu-system-{platform.machine()}",
        "-accel",
        accelerator,
        "-cpu",
        cpu,
        "-m",
        "256",
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
    ]
    command += ["-serial", "stdio", "-no-reboot", "-kernel", str(kernel), "-append", "console=ttyS0 panic=-1"]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    assert process.stdout is not None
    output = b""
    try:
        async with asyncio.timeout(BOOT_SECONDS):
            while len(output) < OUTPUT_BYTES and (chunk := await process.stdout.read(4096)):
                output += chunk
                if any(line in output for line in PROOF):
                    return True
    except TimeoutError:
        pass
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
    return False


def _read(path: Path) -> Answer | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Answer)
    except (OSError, msgspec.DecodeError):
        return None


def _write(path: Path, answer: Answer) -> None:
    try:
        path.write_bytes(msgspec.json.encode(answer))
    except OSError as error:
        raise Error(f"{path} cannot be written.", detail=str(error)) from None
