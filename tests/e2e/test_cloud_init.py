"""A whole Debian, as clouds have it: what its cloud-init makes of the metadata service and of the config drive."""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .running import ADMIN, OpenStack, RealHost, RunningCloud, real_cloud

pytestmark = [pytest.mark.hosts, pytest.mark.qemu, pytest.mark.xdist_group("qemu"), pytest.mark.timeout(7200)]

BUILD_SECONDS, BOOT_SECONDS = 1800, 3000  # without KVM, on a busy machine
TRIES, NO_CONNECTION = 5, 255
BY_SERVICE, BY_DRIVE = "by-service", "by-drive"
SCRIPT = Path(__file__).parent / "build-cloud-image"
# Lines that what the user sent is to leave in the guest.
USER_DATA = """\
#cloud-config
write_files:
  - path: /etc/told
    content: by user data
runcmd:
  - [sh, -c, "echo done > /run/commands"]
"""
# Run in the guest, by one connection: these are slow where processors are emulated. Prints JSON.
LOOK = """\
import http.client, json, os, socket, subprocess
def read(path):
    with open(path) as file:
        return file.read().strip()
def meta_data(host):
    connection = http.client.HTTPConnection(host, 80, timeout=60)
    connection.request("GET", "/openstack/latest/meta_data.json")
    return json.load(connection.getresponse())
card = next(line.split()[0] for line in read("/proc/net/route").splitlines() if line.split()[1] == "00000000")
told = json.loads(read("/run/cloud-init/instance-data.json"))["v1"]
system = os.statvfs("/")
seen = {
    "result": json.loads(read("/run/cloud-init/result.json"))["v1"],
    "hostname": socket.gethostname(),
    "written": read("/etc/told"),
    "run": read("/run/commands"),
    "id": told["instance_id"],
    "addresses": subprocess.run(["/sbin/ip", "-4", "addr"], capture_output=True, text=True).stdout,
    "mib": system.f_blocks * system.f_frsize >> 20,
    "mac": read(f"/sys/class/net/{card}/address"),
    "place": os.path.realpath(f"/sys/class/net/{card}/device"),
}
if "ConfigDrive" in seen["result"]["datasource"]:
    subprocess.run(["sudo", "mount", "-o", "ro", "LABEL=config-2", "/mnt"], check=True)
    seen["meta_data"] = [json.loads(read("/mnt/openstack/latest/meta_data.json"))]
else:
    seen["meta_data"] = [meta_data("169.254.169.254"), meta_data(f"fe80::a9fe:a9fe%{card}")]
print(json.dumps(seen))
"""


@pytest.fixture(scope="session")
def cloud_image() -> Path:
    """A Debian cloud image, built once for all runs; ``NOVA_ASYNC_TEST_CLOUD_IMAGE`` names one that is there."""
    if given := os.environ.get("NOVA_ASYNC_TEST_CLOUD_IMAGE"):
        return Path(given)
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        pytest.skip("the image is made from Debian packages, by root")
    version = hashlib.sha256(SCRIPT.read_bytes()).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"nova-async-cloud-image-{version}"
    folder.mkdir(exist_ok=True)
    image = folder / "cloud.qcow2"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not image.exists():
            done = subprocess.run(["sh", str(SCRIPT), str(folder)], capture_output=True, text=True, timeout=BUILD_SECONDS)
            if done.returncode != 0:
                pytest.fail(f"the image could not be built: {done.stderr[-500:]}")
    return image


@pytest.fixture(scope="module")
def guests(real_guests_can_run: None, test_guest: Path, cloud_image: Path) -> Iterator[dict[str, "Debian"]]:
    """One that has only the metadata service to ask, and one with a config drive; they boot side by side."""
    with real_cloud(test_guest, "--no-first-guest") as (cloud, host):
        cloud.start()
        key = cloud.state / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True, timeout=60)
        (cloud.state / "user-data").write_text(USER_DATA)
        with cloud.openstack(ADMIN) as openstack:
            openstack(f"image create --public --disk-format qcow2 --container-format bare --file {cloud_image} debian")
            openstack("flavor create --ram 512 --disk 2 --vcpus 1 small")
        with cloud.openstack() as openstack:
            openstack(f"keypair create --public-key {key}.pub key")
            yield {
                BY_SERVICE: Debian(cloud, host, openstack, BY_SERVICE, "--no-config-drive"),
                BY_DRIVE: Debian(cloud, host, openstack, BY_DRIVE, "--use-config-drive"),
            }
            for name in (BY_SERVICE, BY_DRIVE):
                openstack(f"server delete --wait {name}")
        cloud.has_a_clean_log()


class Debian:
    """A guest with that image, whose default user is ``debian``; its network card has the tag ``front``."""

    def __init__(self, cloud: RunningCloud, host: RealHost, openstack: OpenStack, name: str, drive: str) -> None:
        self.cloud, self.host, self.openstack, self.name = cloud, host, openstack, name
        network = openstack.show("network show private")["id"]
        given = f"--image debian --flavor small --key-name key --user-data {cloud.state}/user-data --nic net-id={network},tag=front {drive}"
        openstack(f"server create {given} --wait {name}")
        shown = openstack.show(f"server show {name}")
        self.id: str = shown["id"]
        self.address: str = next(iter(shown["addresses"].values()))[0]

    def ssh(self, command: str, text: str = "") -> subprocess.CompletedProcess[str]:
        options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "ConnectTimeout=60", "BatchMode=yes")
        words = [word for option in options for word in ("-o", option)]
        line = [*self.host.inside, "ssh", "-i", f"{self.cloud.state}/key", *words, f"debian@{self.address}", command]
        return subprocess.run(line, capture_output=True, text=True, timeout=300, input=text)

    def says(self, command: str, text: str = "") -> str:
        """What it prints; a connection that breaks down on a busy machine is tried again."""
        for _ in range(TRIES):
            if (done := self.ssh(command, text)).returncode != NO_CONNECTION:
                break
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout.strip()

    def is_up(self) -> None:
        """It can be logged in to, and cloud-init has done all it had to."""
        end = time.monotonic() + BOOT_SECONDS
        while not (status := self.ssh("cloud-init status").stdout.strip()).endswith(("done", "error")):
            assert time.monotonic() < end, self.openstack(f"console log show {self.name}")[-3000:]
            time.sleep(5)
        assert status == "status: done", self.says("cat /run/cloud-init/result.json")

    def is_as_asked(self, source: str, ways: int) -> None:
        """The same whichever way it was told: host name, user data, addresses, size of the disk, who it is, and where its card is."""
        seen = json.loads(self.says("python3 -", LOOK))
        assert seen["result"]["datasource"].startswith(source)
        assert (seen["hostname"], seen["written"], seen["run"], seen["id"]) == (self.name, "by user data", "done", self.id)
        assert f"inet {self.address}/" in seen["addresses"]
        assert seen["mib"] > 1800
        assert len(seen["meta_data"]) == ways
        for meta_data in seen["meta_data"]:
            assert meta_data["uuid"] == self.id
            [card] = meta_data["devices"]
            assert (card["type"], card["bus"], card["mac"], card["tags"]) == ("nic", "pci", seen["mac"], ["front"])
            assert card["address"] in seen["place"]


def test_cloud_init_is_told_all_by_the_metadata_service(guests: dict[str, Debian]) -> None:
    guest = guests[BY_SERVICE]
    guest.is_up()
    guest.is_as_asked("DataSourceOpenStack", ways=2)  # by IPv4 and by IPv6


def test_cloud_init_is_told_all_by_the_config_drive(guests: dict[str, Debian]) -> None:
    guest = guests[BY_DRIVE]
    guest.is_up()
    guest.is_as_asked("DataSourceConfigDrive", ways=1)
