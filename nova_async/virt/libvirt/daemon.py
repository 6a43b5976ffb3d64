"""A libvirtd of our own, where the machine runs none: started once, found again, outliving us as guests do.

All of it lives under ``<state>/libvirt``. Where the folder is marked as used, our guests are there, and it is
preferred to a system-wide libvirtd that may have appeared since.
"""

import asyncio
import fcntl
import os
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

import libvirt

from nova_async import log
from nova_async.errors import Unavailable
from nova_async.virt.libvirt import launch
from nova_async.world import World

FOLDERS = ("etc/qemu", "run", "lib/qemu", "lib/images", "log/qemu", "cache/qemu")
SYSTEM_URI = "qemu:///system"
SYSTEM_CACHE = Path("/var/cache/libvirt/qemu/capabilities")
PROGRAMS = {"libvirtd": "libvirt-daemon-system", "virtlogd": "libvirt-daemon-system", "qemu-img": "qemu-utils"}
ANSWER_SECONDS = 10.0
START_SECONDS = 60.0  # the first start asks every QEMU binary what it can do
STOP_SECONDS = 10.0
UNBORN = re.compile(r"<domstatus [^>]*pid='0'")
SOCKET_LENGTH = 107

QEMU_CONF = """\
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
cgroup_controllers = [ ]
namespaces = [ ]
vnc_listen = "127.0.0.1"
spice_listen = "127.0.0.1"
stdio_handler = "logd"
"""
LIBVIRTD_CONF = """\
unix_sock_group = "root"
unix_sock_rw_perms = "0700"
unix_sock_ro_perms = "0700"
auth_unix_ro = "none"
auth_unix_rw = "none"
listen_tls = 0
listen_tcp = 0
host_uuid = "{host_uuid}"
max_clients = 1000
max_workers = 32
max_client_requests = 32
log_filters = "3:remote 4:event 3:util.json 3:rpc 3:util.object"
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
"""
VIRTLOGD_CONF = """\
max_size = 2097152
max_backups = 1
"""

log_ = log.get("virt.libvirtd")


async def ensure_libvirtd(state_dir: Path, uri: str, world: World) -> str:
    """The URI of a libvirtd that answers: ``uri``, or a private one in place of the system's. Raises ``Unavailable``."""
    if uri != SYSTEM_URI:
        return uri
    if (state_dir / "libvirt" / "used").exists():
        return await start_private(state_dir, world)
    if await answers(uri):
        return uri
    if os.geteuid() != 0:
        raise Unavailable(f"libvirt at {uri} does not answer, and only root can start one. Start libvirtd, or set compute.libvirt_uri.")
    return await start_private(state_dir, world)


async def answers(uri: str) -> bool:
    """Whether a libvirtd takes connections there."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await asyncio.to_thread(_answers, uri)
    except TimeoutError:
        return False


async def start_private(state_dir: Path, world: World, *, network: str | None = None) -> str:
    """Start the libvirtd under ``state_dir``, unless it runs, and wait until it answers; returns its URI.

    ``network`` names a network namespace that it, and so its guests, live in; it is remembered for later starts.
    """
    folder = _folder(state_dir)
    uri = private_uri(state_dir)
    await asyncio.to_thread(_check_programs)
    started = world.monotonic()
    async with _locked(folder):
        if await answers(uri):
            return uri
        await asyncio.to_thread(_write_configuration, folder, world.uuid())
        await asyncio.to_thread(_forget_unborn, folder)
        await _launch(folder, await asyncio.to_thread(_network, folder, network))
        while not await answers(uri):
            if world.monotonic() - started > START_SECONDS:
                raise Unavailable(f"The private libvirtd did not start; see {folder}/log/libvirtd.log and launch.log.")
            await world.sleep(0.05)
        await asyncio.to_thread(_spread, folder)
    log_.info("libvirtd.started", uri=uri, seconds=round(world.monotonic() - started, 3))
    return uri


async def stop_private(state_dir: Path, world: World) -> None:
    """Stop libvirtd and virtlogd (not the guests). Succeeds when they do not run."""
    folder = _folder(state_dir)
    for name in ("libvirtd", "virtlogd"):
        pid = await asyncio.to_thread(_pid, folder, name)
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
            deadline = world.monotonic() + STOP_SECONDS
            while await asyncio.to_thread(_pid, folder, name) is not None and world.monotonic() < deadline:
                await world.sleep(0.05)


def private_uri(state_dir: Path) -> str:
    path = f"{_folder(state_dir)}/run/libvirt-sock"
    if len(path) > SOCKET_LENGTH:
        raise Unavailable(f"The path {path} is too long for a socket; choose a shorter state_dir.")
    return f"qemu+unix:///system?socket={path}"


def seen_from_here(state_dir: Path, path: str) -> Path:
    """Where a file of the private libvirtd is, which sees folders under ``state_dir`` as the system's."""
    for name, place in launch.FOLDERS.items():
        if path.startswith(place + "/"):
            return _folder(state_dir) / name / path.removeprefix(place + "/")
    return Path(path)


def _folder(state_dir: Path) -> Path:
    return state_dir.absolute() / "libvirt"


def _answers(uri: str) -> bool:
    if "socket=" in uri and not Path(uri.partition("socket=")[2]).exists():
        return False
    try:
        libvirt.open(uri).close()
    except libvirt.libvirtError:
        return False
    return True


def _check_programs() -> None:
    for program, package in PROGRAMS.items():
        if shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None:
            raise Unavailable(f"{program} is not installed; install the package {package}, or set compute.driver to fake.")


@asynccontextmanager
async def _locked(folder: Path) -> AsyncIterator[None]:
    """One process at a time starts it."""
    file = await asyncio.to_thread(_lock, folder)
    try:
        yield
    finally:
        file.close()


def _lock(folder: Path) -> IO[str]:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = (folder / "lock").open("w")
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


def _write_configuration(folder: Path, host_uuid: str) -> None:
    for name in FOLDERS:
        (folder / name).mkdir(mode=0o711, parents=True, exist_ok=True)
    host_file = folder / "host_uuid"
    if not host_file.exists():
        host_file.write_text(host_uuid)
    (folder / "etc" / "qemu.conf").write_text(QEMU_CONF)
    (folder / "etc" / "libvirtd.conf").write_text(LIBVIRTD_CONF.format(host_uuid=host_file.read_text().strip()))
    (folder / "etc" / "virtlogd.conf").write_text(VIRTLOGD_CONF)
    capabilities = folder / "cache" / "qemu" / "capabilities"
    if not capabilities.exists() and SYSTEM_CACHE.is_dir():
        shutil.copytree(SYSTEM_CACHE, capabilities)
    (folder / "used").touch()


def _forget_unborn(folder: Path) -> None:
    """Guests whose process was not there yet when libvirtd died, and is not made any more.

    libvirt passes over them when it takes up its guests: they would count as starting for ever, and nobody could end them.
    """
    for path in (folder / "run" / "qemu").glob("*.xml"):
        if UNBORN.search(path.read_text()):
            log_.warning("libvirtd.unborn_guest", name=path.stem)
            path.unlink()


def _network(folder: Path, network: str | None) -> str | None:
    """The namespace to use: the one named now, else the one of the first start, since the guests are there."""
    file = folder / "network"
    if network is not None:
        file.write_text(network)
    return file.read_text() if file.exists() else None


async def _launch(folder: Path, network: str | None) -> None:
    program = [sys.executable, "-I", "-S", str(Path(__file__).with_name("launch.py")), str(folder), *([network] if network else [])]
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
    process = await asyncio.create_subprocess_exec(*program, stdin=asyncio.subprocess.DEVNULL, env=environment)
    async with asyncio.timeout(START_SECONDS):
        await process.wait()


def _pid(folder: Path, name: str) -> int | None:
    """The process that a pid file names, if it lives and is what the file's name says."""
    try:
        pid = int((folder / "run" / f"{name}.pid").read_text())
        return pid if name in Path(f"/proc/{pid}/cmdline").read_text() else None
    except (OSError, ValueError):
        return None


def _spread(folder: Path) -> None:
    """Let libvirtd use every processor, now that it has looked at the one it was started on."""
    pid = _pid(folder, "libvirtd")
    for thread in Path(f"/proc/{pid}/task").iterdir() if pid else ():
        try:
            os.sched_setaffinity(int(thread.name), range(os.cpu_count() or 1))
        except OSError:
            continue
