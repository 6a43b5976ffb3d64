"""What real guests need."""

import os
import shutil

import pytest

from tests.virt.conftest import test_guest

__all__ = ["real_guests_can_run", "test_guest"]


@pytest.fixture(scope="session")
def real_guests_can_run() -> None:
    """Skip where they cannot."""
    pytest.importorskip("libvirt")
    programs = ("libvirtd", "qemu-system-x86_64", "dnsmasq", "nft", "ip", "ssh", "virsh")
    missing = [p for p in programs if shutil.which(p, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None]
    if os.geteuid() != 0 or missing:
        pytest.skip(f"real guests need root and {' '.join(missing)}")
