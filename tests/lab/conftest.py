"""One lab for all tests of this folder: two hosts with real guests. ``LAB`` names the state folder of one that runs already."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nova_async.bus.rabbitmq import installed
from nova_async.cli.client import Client
from nova_async.cli.clouds import client_of
from tests.lab.cluster import Cluster, cluster_of
from tests.virt.conftest import test_guest

__all__ = ["cluster", "lab", "test_guest", "user"]

STATE = Path("/var/tmp/nova-async-lab-test")


@pytest.fixture(scope="package")
def lab() -> Iterator[Path]:
    """The state folder."""
    with lab_with() as state:
        yield state


@contextmanager
def lab_with(*options: str) -> Iterator[Path]:
    """A lab of two hosts that is made with these words; its state folder."""
    if os.geteuid() != 0 or not installed() or not shutil.which("libvirtd") or not shutil.which("qemu-system-x86_64"):
        pytest.skip("needs root, RabbitMQ, libvirtd and QEMU")
    if known := os.environ.get("LAB"):
        yield Path(known)
        return
    environment = os.environ | {"LAB_STATE": str(STATE)}
    command = [sys.executable, "-m", "tests.lab"]
    with STATE.with_suffix(".lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)  # the machine has room for one lab: another run of the tests waits
        subprocess.run([*command, "down"], env=environment, check=True, capture_output=True)
        told = subprocess.run([*command, "up", "--hosts", "2", *options], env=environment, capture_output=True, text=True)
        try:
            assert told.returncode == 0, told.stdout + told.stderr
            assert told.stdout.splitlines()[-1].startswith("ready https://")
            yield STATE
        finally:
            subprocess.run([*command, "down"], env=environment, check=True, capture_output=True)
            left = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout
            assert "labhost" not in left
            assert not STATE.exists()


@pytest.fixture
async def cluster(lab: Path) -> AsyncIterator[Cluster]:
    async with cluster_of(lab) as made:
        yield made


@pytest.fixture
async def user(lab: Path) -> AsyncIterator[Client]:
    async with client_of(lab / "clouds.yaml", "nova-async") as client:
        yield client
