"""KVM is used where a guest really boots on it, and nowhere else."""

import asyncio
import os
import shutil
from pathlib import Path

import pytest
from blockbuster import blockbuster_ctx

from nova_async.errors import Unavailable
from nova_async.virt import testguest
from nova_async.virt.libvirt import probe


@pytest.mark.parametrize("wanted", ["kvm", "qemu"])
async def test_an_operators_choice_is_taken(tmp_path: Path, wanted: str) -> None:
    assert await probe.choose_virt_type(wanted, tmp_path) == wanted


async def test_a_misspelt_choice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="virt_type"):
        await probe.choose_virt_type("kwm", tmp_path)


@pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="QEMU is not installed")
async def test_without_kvm_guests_are_emulated(tmp_path: Path) -> None:
    if os.path.exists("/sys/module/kvm_intel") or os.path.exists("/sys/module/kvm_amd"):
        pytest.skip("this machine may have a KVM that works")
    with blockbuster_ctx(scanned_modules="nova_async"):
        assert await probe.choose_virt_type("auto", tmp_path) == "qemu"


@pytest.mark.qemu
async def test_a_kernel_that_boots_proves_it_and_one_that_does_not_ends_the_probe(test_guest: Path, tmp_path: Path) -> None:
    assert await probe.boots(test_guest / testguest.KERNEL, "tcg", "Nehalem")
    broken = tmp_path / "vmlinuz"
    await asyncio.to_thread(broken.write_bytes, b"no kernel")
    assert not await probe.boots(broken, "tcg", "Nehalem")
