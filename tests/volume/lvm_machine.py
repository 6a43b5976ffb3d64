"""A machine with a device mapper: a guest of QEMU's with Debian's kernel and this machine's LVM, told over a serial line what to do."""

import asyncio
import base64
import shlex
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from nova_async.errors import Error

SECONDS = 120
MODULES = (  # in this order
    *("virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_blk"),
    *("libcrc32c", "dm-mod", "dm-bufio", "dm-persistent-data", "dm-bio-prison", "dm-thin-pool"),
)
PROGRAMS = ("lvs", "lvcreate", "lvremove", "lvextend", "lvchange", "vgcreate")
INIT = f"""#!/bin/busybox sh
export PATH=/bin LC_ALL=C DM_DISABLE_UDEV=1
busybox mount -t proc proc /proc; busybox mount -t sysfs sys /sys; busybox mount -t devtmpfs dev /dev
busybox --install -s /bin
for module in {" ".join(MODULES)}; do insmod /modules/$module.ko; done
exec </dev/ttyS1 >/dev/ttyS1
stty raw -echo
echo READY
while read -r line; do
    sh -c "$line" >/tmp/out 2>/tmp/err
    echo "$? $(base64 -w 0 /tmp/out). $(base64 -w 0 /tmp/err)."
done
"""
SETTINGS = """devices { use_devicesfile=0 }
global { thin_check_executable="" }
activation { udev_sync=0 udev_rules=0 monitoring=0 }
backup { backup=0 archive=0 }
"""


class Machine:
    """``run`` is as ``processes.run``, there."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process, self._free = process, asyncio.Lock()

    async def run(self, *command: str, deadline: float = SECONDS) -> bytes:
        return await self.shell(shlex.join(command), command[0])

    async def shell(self, line: str, program: str = "sh") -> bytes:
        """What it prints. Raises ``Error`` when it fails."""
        assert self._process.stdin is not None
        async with self._free:
            self._process.stdin.write(line.encode() + b"\n")
            status, *texts = (await self.line()).split()
        output, complaint = (base64.b64decode(text.removesuffix(b".")) for text in texts)
        if int(status):
            raise Error(f"{program} failed.", detail=complaint.decode())
        return output

    async def line(self) -> bytes:
        assert self._process.stdout is not None
        async with asyncio.timeout(SECONDS):
            return await self._process.stdout.readuntil(b"\n")


@asynccontextmanager
async def running(folder: Path, kernel: Path) -> AsyncIterator[Machine]:
    """``kernel``: a Debian package of one; the machine's first disk has 2 GiB."""
    image, ramdisk = await asyncio.to_thread(_build, folder, kernel)
    words = ["-accel", "tcg", "-cpu", "max", "-m", "384", "-display", "none", "-nodefaults", "-no-reboot", "-kernel", str(image)]
    words += ["-initrd", str(ramdisk), "-append", "quiet panic=-1", "-drive", f"file={folder / 'disk'},if=virtio,format=raw"]
    words += ["-serial", "null", "-serial", "stdio"]
    pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
    process = await asyncio.create_subprocess_exec("qemu-system-x86_64", *words, **pipes, limit=2**22)
    try:
        machine = Machine(process)
        while b"READY" not in await machine.line():
            pass
        yield machine
    finally:
        process.kill()
        await process.wait()


def _build(folder: Path, kernel: Path) -> tuple[Path, Path]:
    """The kernel, and a RAM disk with all that the machine has. Blocks."""
    unpacked, root = folder / "kernel", folder / "root"
    subprocess.run(["dpkg-deb", "-x", str(kernel), str(unpacked)], check=True)
    for name in ("bin", "proc", "sys", "dev", "tmp", "run/lvm", "run/lock/lvm", "etc/lvm", "modules", "lib/x86_64-linux-gnu", "lib64"):
        (root / name).mkdir(parents=True)
    for module in MODULES:
        for path in unpacked.rglob(f"{module}.ko"):
            _copy(path, root / "modules" / path.name)
    for program, place in (("/bin/busybox", "bin/busybox"), ("/usr/sbin/lvm", "bin/lvm")):
        _copy(Path(program), root / place)
    told = subprocess.run(["ldd", "/usr/sbin/lvm"], check=True, capture_output=True, text=True).stdout
    for word in told.split():
        if word.startswith("/"):
            _copy(Path(word), root / word.lstrip("/"))
    for program in PROGRAMS:
        (root / "bin" / program).symlink_to("lvm")
    (root / "etc/lvm/lvm.conf").write_text(SETTINGS)
    (root / "init").write_text(INIT)
    (root / "init").chmod(0o755)
    names = "\n".join(str(path.relative_to(root)) for path in [root, *root.rglob("*")])
    packed = subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], input=names.encode(), cwd=root, check=True, capture_output=True)
    (folder / "ramdisk").write_bytes(packed.stdout)
    with (folder / "disk").open("wb") as disk:
        disk.truncate(2 * 2**30)
    [image] = (unpacked / "boot").glob("vmlinuz-*")
    return image, folder / "ramdisk"


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(source.read_bytes())
    target.chmod(0o755)
