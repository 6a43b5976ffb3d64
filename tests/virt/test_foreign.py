"""Xen and ESX: domains are valid, what cannot be done is refused by name, and a hypervisor that is away is tried again."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Tree

import pytest

from nova_async.compute.plugs import NoPlugs
from nova_async.config import load
from nova_async.errors import Error, NotFound, Unavailable, Unsupported
from nova_async.model.guests import DiskSpec, GuestSpec, ImageRef, VolumeSpec
from nova_async.virt.libvirt import disks, rescue, xen, xml
from nova_async.virt.libvirt.connection import Connection
from nova_async.virt.libvirt.driver import LibvirtDriver
from nova_async.virt.libvirt.foreign import EsxDriver, XenDriver, driver_for
from nova_async.world import SimulatedWorld

from .conftest import FolderImages, quiet
from .libvirt_schema import assert_valid
from .test_domain_xml import FOLDER, KERNEL, port, spec

VOLUME = VolumeSpec(volume_id="v", attachment_id="a", device="/dev/vdb")
ON_XEN = {
    "plain": spec(),
    "disks": spec(disks=(DiskSpec(name="ephemeral0", size_mib=1024), DiskSpec(name="swap", size_mib=64)), config_drive=True),
    "windows": spec({"os_type": "windows", "hw_vm_mode": "hvm", "hw_architecture": "x86_64"}),
    "kernel": spec(image=ImageRef(id="image", disk_format="raw", size_bytes=1, sha512="", kernel=KERNEL, ramdisk=KERNEL)),
}
BOTH, XEN, ESX = (XenDriver, EsxDriver), (XenDriver,), (EsxDriver,)
REFUSED: dict[str, tuple[tuple[type[LibvirtDriver], ...], str]] = {  # method: by whom, and how it is called
    "prepare_live": (BOTH, "migrated while they run"),
    "live_migrate": (BOTH, "migrated while they run"),
    "set_password": (BOTH, "given a password"),
    "crash_dump": (BOTH, "crash dump"),
    "attach_port": (BOTH, "network cards"),
    "attach_volume": (BOTH, "volumes"),
    "swap_volume": (BOTH, "volumes"),
    "extend_volume": (BOTH, "volumes"),
    "snapshot_volume": (BOTH, "volumes"),
    "merge_volume": (BOTH, "volumes"),
    "measures": (BOTH, "measured"),
    "console_output": (BOTH, "print"),
    "console": (BOTH, "console"),
    "spawn": (ESX, "no worker runs on ESX"),
    "rebuild": (ESX, "rebuilt"),
    "receive_disk": (ESX, "moved"),
    "finish_move": (ESX, "moved"),
    "rescue": (ESX, "rescued"),
    "suspend": (ESX, "suspended"),
}


def domain(guest: GuestSpec) -> str:
    return xen.domain(guest, 1, disks.layout(FOLDER, guest))


class Leaping(SimulatedWorld):
    """Who sleeps wakes at once, that much later."""

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)


class Tried(Exception):
    pass


@pytest.mark.parametrize("guest", ON_XEN.values(), ids=ON_XEN.keys())
def test_libvirts_schema_accepts_a_guest_on_xen(guest: GuestSpec, tmp_path: Path) -> None:
    assert_valid(domain(guest), tmp_path)


def test_a_guest_on_xen_says_whose_it_is_and_boots_from_its_first_disk() -> None:
    guest = ON_XEN["disks"]
    tree = Tree.fromstring(domain(guest))
    assert (tree.get("type"), tree.findtext("os/type"), tree.findtext("uuid")) == ("xen", "hvm", guest.instance_id)
    found = {d.find("target").get("dev"): Path(d.find("source").get("file", "")).name for d in tree.iterfind("devices/disk")}  # type: ignore[union-attr]
    assert found == {"xvda": "disk", "xvdb": "disk.eph0", "xvdc": "disk.swap", "xvdd": "disk.config"}
    mark = tree.find(f"metadata/{{{xml.NAMESPACE}}}instance")
    assert mark is not None
    assert xml.read_mark(Tree.tostring(mark, encoding="unicode")).generation == 1


def test_a_guest_in_rescue_on_xen_boots_from_the_rescue_disk() -> None:
    guest = spec()
    image = ImageRef(id="rescue", disk_format="qcow2", size_bytes=1, sha512="", properties={"hw_rescue_device": "disk"})
    tree = Tree.fromstring(xen.domain(guest, 1, rescue.layout(disks.layout(FOLDER, guest), image)))
    first = tree.find("devices/disk/source")
    assert first is not None
    assert Path(first.get("file", "")).name == "disk.rescue"


@pytest.mark.parametrize(
    ("guest", "name"),
    [
        (spec(extra_specs={"hw:cpu_policy": "dedicated"}), "hw:cpu_policy"),
        (spec(extra_specs={"quota:disk_read_iops_sec": "100"}), "quota:disk_read_iops_sec"),
        (spec({"hw_firmware_type": "uefi"}), "hw_firmware_type"),
        (spec({"hw_vm_mode": "xen"}), "hw_vm_mode=xen"),
        (spec({"hw_architecture": "aarch64"}), "hw_architecture=aarch64"),
        (spec({"os_require_quiesce": "yes"}), "os_require_quiesce"),
        (spec(ports=(port(1),)), "networks: none"),
        (spec(volumes=(VOLUME,)), "volumes"),
    ],
)
async def test_what_a_guest_cannot_have_on_xen_is_refused_by_name(guest: GuestSpec, name: str, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match=name):
        await driver(XenDriver, "xen:///system", tmp_path).spawn(guest, 1, quiet)


@pytest.mark.parametrize(("method", "kind"), [(method, kind) for method, (kinds, _) in REFUSED.items() for kind in kinds])
async def test_what_a_hypervisor_cannot_do_is_refused_by_name(method: str, kind: type[LibvirtDriver], tmp_path: Path) -> None:
    made = driver(kind, "xen:///system" if kind is XenDriver else "esx://root@127.0.0.1/", tmp_path)
    with pytest.raises(Unsupported, match=REFUSED[method][1]):
        await getattr(made, method)(spec())


async def test_a_server_on_esx_is_not_imaged(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="imaged"):
        async with driver(EsxDriver, "esx://root@127.0.0.1/", tmp_path).snapshot(spec()):
            pass


def test_the_uri_names_the_driver() -> None:
    uris = ("xen:///system", "xen+unix:///system", "esx://root@host/", "qemu:///system", "test:///default")
    assert [driver_for(uri) for uri in uris] == [XenDriver, XenDriver, EsxDriver, LibvirtDriver, LibvirtDriver]


@pytest.mark.parametrize(("kind", "room"), [(XenDriver, True), (EsxDriver, False)])
async def test_a_foreign_host_tells_what_it_has(
    kind: type[LibvirtDriver], room: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On libvirt's test hypervisor, which has 3 GiB and 16 processors."""

    async def of_the_test_hypervisor(_: LibvirtDriver) -> str:
        return "test:///default"

    monkeypatch.setattr(kind, "_find_libvirt", of_the_test_hypervisor)
    made = driver(kind, "xen:///system" if room else "esx://root@127.0.0.1/", tmp_path)
    await made.start()
    try:
        facts = await made.facts()
        assert (
            {name: facts.inventory[name] for name in ("VCPU", "MEMORY_MB")} == {"VCPU": 16, "MEMORY_MB": 3072}
            if room
            else not facts.inventory
        )
        assert "COMPUTE_NODE" in facts.traits
        assert await made.guests() == []
        with pytest.raises(NotFound):
            await made.power_off(spec().instance_id, timeout=0, retry=1)
    finally:
        await made.close()


@pytest.mark.parametrize("uri", ["xen+unix:///system?socket=/nowhere/libvirt-sock", "esx://root@127.0.0.1:9/?no_verify=1"])
async def test_a_worker_keeps_trying_a_hypervisor_that_is_away_and_says_so(
    uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Impatient(Leaping):
        async def sleep(self, seconds: float) -> None:
            await super().sleep(seconds)
            if self.monotonic() > 60:
                raise Tried

    made = driver_for(uri)(
        load(environment={}, state_dir=str(tmp_path), compute__libvirt_uri=uri), Impatient(), FolderImages(tmp_path), NoPlugs(), "host"
    )
    with pytest.raises(Tried):
        await made.start()
    await made.close()
    said = capsys.readouterr().out
    assert said.count("libvirt.unreachable") > 5
    assert uri in said


async def test_a_connection_that_is_waited_for_opens_when_libvirt_is_there() -> None:
    uris = iter((Unavailable("away"), Unavailable("still away"), "test:///default"))

    async def find() -> str:
        found = next(uris)
        if isinstance(found, Error):
            raise found
        return found

    async def opened() -> None:
        pass

    connection = Connection(find, 2, Leaping(), lifecycle=lambda *_: None, opened=opened)
    await connection.open_at_last()
    assert await connection.call(lambda libvirt: libvirt.getType()) == "TEST"
    await connection.close()


def driver(kind: type[LibvirtDriver], uri: str, folder: Path) -> Any:
    config = load(environment={}, state_dir=str(folder), compute__libvirt_uri=uri)
    return kind(config, Leaping(), FolderImages(folder), NoPlugs(), "host")
