"""A small Ceph of its own: a monitor, a manager, and one OSD that keeps everything in memory."""

import mmap
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from aiohttp.test_utils import unused_port

PROGRAMS = ("ceph-mon", "ceph-osd", "ceph-mgr", "ceph", "rbd")
MISSING = [program for program in PROGRAMS if shutil.which(program) is None]
SECONDS = 60
USER = "nova"
SETTINGS = """[global]
fsid = {fsid}
mon_host = {monitor}
run_dir = {folder}
log_file = {folder}/$name.log
mon_data = {folder}/mon
osd_data = {folder}/osd
mgr_data = {folder}/mgr
keyring = {keyring}
admin_socket =
osd_objectstore = memstore
memstore_device_bytes = 4294967296
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_crush_chooseleaf_type = 0
osd_pool_default_pg_autoscale_mode = off
mon_allow_pool_size_one = true
mon_data_avail_crit = 1
paxos_propose_interval = 0.05
auth_allow_insecure_global_id_reclaim = false
[osd]
public_addr = {address}
[mgr]
public_addr = {address}
"""


class Ceph:
    """``conf``: as an operator gives it to the volume service, with the way to the key of its user. ``address``: one of this machine."""

    def __init__(self, folder: Path, address: str = "127.0.0.1") -> None:
        self.address = address
        self.folder, self.conf = folder, folder / "ceph.conf"
        self._own = folder / "own.conf"
        self._monitor = f"[v2:{address}:{unused_port()},v1:{address}:{unused_port()}]"

    def __call__(self, *words: str) -> str:
        """What a tool says to the administrator; one that fails fails the test."""
        tool, *rest = words
        command = [tool, "--conf", str(self._own), *rest]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    def pool(self) -> str:
        """The name of a new one."""
        name = f"volumes-{uuid.uuid4().hex[:8]}"
        self("ceph", "osd", "pool", "create", name, "1")
        self("rbd", "pool", "init", name)
        return name

    def key(self) -> str:
        """Of the volume service's user, in Base64."""
        return self("ceph", "auth", "print-key", f"client.{USER}").strip()

    def disk(self, pool: str, image: str, *commands: str, snapshot: str = "", secret: str = "") -> str:
        """What ``qemu-io`` says that opens an image as a guest's QEMU does. ``secret``: of an encrypted volume."""
        node = self._node(pool, image, "luks,key-secret=key" if secret else "raw") + (f",file.snapshot={snapshot}" if snapshot else "")
        words = [*(("-r",) if snapshot else ()), *(word for command in commands for word in ("-c", command))]
        command = ["qemu-io", *(("--object", "secret,id=key,file=/dev/stdin") if secret else ()), *words, "--image-opts", node]
        done = subprocess.run(command, input=secret, capture_output=True, text=True, timeout=SECONDS, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def holds(self, pool: str, image: str, text: bytes) -> bool:
        """Whether the bytes that Ceph keeps of an image have it in them."""
        copy = self.folder / "exported"
        self("rbd", "export", "--no-progress", f"{pool}/{image}", str(copy))
        with copy.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            found = data.find(text) >= 0
        copy.unlink()
        return found

    @contextmanager
    def held(self, pool: str, image: str) -> Iterator[None]:
        """Somebody has the image open."""
        command = ["qemu-io", "--image-opts", self._node(pool, image)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(b"write 0 512\n")
            process.stdin.flush()
            assert b"wrote 512/512" in process.stdout.readline() + process.stdout.readline()
            yield
        finally:
            process.communicate(b"quit\n", timeout=SECONDS)

    def _node(self, pool: str, image: str, driver: str = "raw") -> str:
        return f"driver={driver},file.driver=rbd,file.pool={pool},file.image={image},file.conf={self.conf},file.user={USER}"

    @contextmanager
    def running(self) -> Iterator["Ceph"]:
        told = {"fsid": uuid.uuid4(), "monitor": self._monitor, "address": self.address, "folder": self.folder}
        for name in ("mon", "osd", "mgr"):
            (self.folder / name).mkdir(parents=True)
        self._own.write_text(SETTINGS.format(**told, keyring=self.folder / "own.keyring"))
        self.conf.write_text(SETTINGS.format(**told, keyring=self.folder / "nova.keyring"))
        for name, caps in (
            ("mon.", {"mon": "allow *"}),
            ("client.admin", {"mon": "allow *", "osd": "allow *", "mgr": "allow *"}),
            ("osd.0", {"mon": "allow profile osd", "osd": "allow *", "mgr": "allow profile osd"}),
            ("mgr.a", {"mon": "allow profile mgr", "osd": "allow *"}),
        ):
            words = [word for who, cap in caps.items() for word in ("--cap", who, cap)]
            self("ceph-authtool", *self._key(name), *words)
        with ExitStack() as stack:
            self._begin(stack)
            yield self

    def _key(self, name: str) -> list[str]:
        keyring = self.folder / "own.keyring"
        return [*(() if keyring.exists() else ("--create-keyring",)), str(keyring), "--gen-key", "-n", name]

    def _begin(self, stack: ExitStack) -> None:
        keyring, known = str(self.folder / "own.keyring"), str(uuid.uuid4())
        self("ceph-mon", "--mkfs", "-i", "a", "--keyring", keyring, "--public-addrv", self._monitor)
        self._daemon(stack, "ceph-mon", "a", "--public-addrv", self._monitor)
        self("ceph", "osd", "new", known, "0")
        self("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", known, "--keyring", keyring)
        for program, name in (("ceph-osd", "0"), ("ceph-mgr", "a")):
            self._daemon(stack, program, name)
        caps = ("mon", "profile rbd", "osd", "profile rbd", "mgr", "profile rbd")
        self("ceph", "auth", "get-or-create", f"client.{USER}", *caps, "-o", str(self.folder / "nova.keyring"))
        end = time.monotonic() + SECONDS
        while "1 up" not in self("ceph", "osd", "stat"):
            assert time.monotonic() < end, "the OSD does not come up"

    def _daemon(self, stack: ExitStack, program: str, name: str, *words: str) -> None:
        said = stack.enter_context((self.folder / f"{program}.said").open("wb"))
        daemon = subprocess.Popen([program, "-f", "--conf", str(self._own), "-i", name, *words], stdout=said, stderr=said)
        stack.callback(daemon.wait)
        stack.callback(daemon.kill)
