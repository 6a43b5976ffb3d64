"""A machine with Debian's kernel and all files of this one: a guest of QEMU's whose root is ours, read-only, under a layer of its own.

So it has this machine's packages and our virtual environment, whatever kernel this machine has. What it writes is gone with it.
"""

import shlex
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.running import REPOSITORY

VIRTIOFSD = Path("/usr/lib/qemu/virtiofsd")
MEMORY = "3G"
LAYER_BYTES = 32 * 2**30  # that are not there before they are written
READY_SECONDS = 10
MODULES = (  # until the machine has its root, in this order; the kernel loads the others by itself
    *("virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_blk"),
    *("fuse", "virtiofs", "overlay"),
)
INIT = """#!/bin/busybox sh
export PATH=/bin
busybox mount -t proc proc /proc; busybox --install -s /bin
mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for module in {modules}; do insmod /modules/$module.ko; done
mount -t virtiofs -o ro files /files
mount -t ext4 /dev/vda /layer
mkdir /layer/new /layer/work /layer/places
mount -t overlay -o lowerdir=/files,upperdir=/layer/new,workdir=/layer/work root /root
for place in proc sys dev; do mount --move /$place /root/$place; done
mkdir /root/dev/pts /root/dev/shm
ln -s /proc/self/fd /root/dev/fd
for number in 0:stdin 1:stdout 2:stderr; do ln -s /proc/self/fd/${{number%:*}} /root/dev/${{number#*:}}; done
mount -t devpts pts /root/dev/pts
mount -t cgroup2 cgroup /root/sys/fs/cgroup
for place in dev/shm run; do mount -t tmpfs -o mode=1777 tmpfs /root/$place; done
for place in tmp var/tmp; do mkdir -p -m 1777 /layer/places/$place; mount --bind /layer/places/$place /root/$place; done
for place in {folder} {repository}; do mkdir -p /root$place; mount --bind /files$place /root$place; done
mkdir -p /root/lib/modules; mount --bind /files{folder}/kernel/lib/modules /root/lib/modules
exec switch_root /root /bin/sh {folder}/begin
"""
BEGIN = """export HOME=/root LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin PYTHONDONTWRITEBYTECODE=1
ip link set lo up
for module in loop tun dm_thin_pool; do modprobe $module; done
cp {folder}/lvm.conf /etc/lvm/lvm.conf
cd {repository}
{command} </dev/null
echo $? >/dev/ttyS1
busybox reboot -f
"""
# Nobody tells of new devices there, and none needs to be checked for what an earlier crash has left.
LVM = """devices { obtain_device_list_from_udev=0 use_devicesfile=0 }
global { thin_check_executable="" }
activation { udev_sync=0 udev_rules=0 monitoring=0 }
backup { backup=0 archive=0 }
"""


def run(folder: Path, package: Path, command: list[str], seconds: float) -> int:
    """The status of a command in the machine, in our repository; what it says is printed here. ``package``: Debian's, of a kernel.

    Raises ``subprocess.TimeoutExpired``; without a status (the machine died) it is 1.
    """
    kernel, ramdisk = _build(folder, package, command)
    status = folder / "status"
    words = ["-accel", "tcg", "-cpu", "max", "-smp", "2", "-display", "none", "-nodefaults", "-no-reboot"]
    words += ["-object", f"memory-backend-memfd,id=memory,size={MEMORY},share=on", "-m", MEMORY, "-machine", "memory-backend=memory"]
    words += ["-chardev", f"socket,id=files,path={folder / 'files'}", "-device", "vhost-user-fs-pci,chardev=files,tag=files"]
    words += ["-kernel", str(kernel), "-initrd", str(ramdisk), "-append", "quiet panic=-1 console=ttyS0 random.trust_cpu=on"]
    words += ["-drive", f"file={folder / 'layer'},if=virtio,format=raw,cache=unsafe"]
    words += ["-serial", "stdio", "-serial", f"file:{status}"]
    with _our_files(folder):
        subprocess.run(["qemu-system-x86_64", *words], stdin=subprocess.DEVNULL, timeout=seconds, check=True)
    return int(status.read_text().strip() or 1)


@contextmanager
def _our_files(folder: Path) -> Iterator[None]:
    """Hand the whole tree of this machine out, at a socket ``files`` in the folder."""
    with (folder / "files.said").open("wb") as said:
        words = [f"--socket-path={folder / 'files'}", "-o", "source=/", "-o", "cache=always", "-o", "sandbox=chroot"]
        server = subprocess.Popen([VIRTIOFSD, *words], stdout=said, stderr=said)
        try:
            end = time.monotonic() + READY_SECONDS
            while not (folder / "files").exists():
                assert server.poll() is None, (folder / "files.said").read_text()
                assert time.monotonic() < end
                time.sleep(0.02)
            yield
        finally:
            server.kill()
            server.wait()


def _build(folder: Path, package: Path, command: list[str]) -> tuple[Path, Path]:
    """The kernel, and a RAM disk that finds the machine's root."""
    unpacked, root = folder / "kernel", folder / "ramdisk"
    subprocess.run(["dpkg-deb", "-x", str(package), str(unpacked)], check=True)
    [version] = [path.name for path in (unpacked / "lib/modules").iterdir()]
    subprocess.run(["depmod", "-b", str(unpacked), version], check=True)
    for name in ("bin", "proc", "sys", "dev", "modules", "files", "layer", "root"):
        (root / name).mkdir(parents=True)
    for module in MODULES:
        [path] = (unpacked / "lib/modules").rglob(f"{module}.ko")
        (root / "modules" / path.name).write_bytes(path.read_bytes())
    (root / "bin/busybox").write_bytes(Path("/bin/busybox").read_bytes())
    places = {"folder": shlex.quote(str(folder)), "repository": shlex.quote(str(REPOSITORY))}
    (root / "init").write_text(INIT.format(modules=" ".join(MODULES), **places))
    for name in ("bin/busybox", "init"):
        (root / name).chmod(0o755)
    (folder / "begin").write_text(BEGIN.format(command=shlex.join(command), **places))
    (folder / "lvm.conf").write_text(LVM)
    with (folder / "layer").open("wb") as layer:
        layer.truncate(LAYER_BYTES)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", str(folder / "layer")], check=True)
    names = "\n".join(str(path.relative_to(root)) for path in [root, *root.rglob("*")])
    packed = subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], input=names.encode(), cwd=root, check=True, capture_output=True)
    (folder / "initrd").write_bytes(packed.stdout)
    [image] = (unpacked / "boot").glob("vmlinuz-*")
    return image, folder / "initrd"
