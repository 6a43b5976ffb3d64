"""Domains are well formed, valid for libvirt, and say whose they are."""

import contextlib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Tree

import libvirt
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nova_async.errors import Error, Invalid, Unsupported
from nova_async.model import devices
from nova_async.model.guests import DiskSpec, GuestSpec, ImageRef, PortSpec, VolumeSpec
from nova_async.virt.libvirt import disks, hardware, rescue, secrets, xml

from .libvirt_schema import assert_valid

FOLDER = Path("/state/instances/11111111-2222-4333-8444-555555555555")
KVM, QEMU = xml.Host(virt_type="kvm"), xml.Host(virt_type="qemu")


def spec(image_properties: dict[str, str] | None = None, **changes: object) -> GuestSpec:
    image = ImageRef(id="image", disk_format="qcow2", size_bytes=1, sha512="", properties=image_properties or {})
    values: dict[str, object] = {
        "instance_id": FOLDER.name,
        "name": "instance-11111111",
        "display_name": "web",
        "hostname": "web",
        "project_id": "project",
        "user_id": "user",
        "flavor_id": "1",
        "flavor_name": "tiny",
        "vcpus": 4,
        "memory_mib": 512,
        "root_gib": 1,
        "image": image,
        "created_at": "2026-01-01T00:00:00Z",
        **changes,
    }
    return GuestSpec(**values)


def port(number: int, **changes: object) -> PortSpec:
    values: dict[str, object] = {
        "id": f"port-{number}",
        "network_id": "net",
        "mac": f"fa:16:3e:00:00:0{number}",
        "bridge": "br",
        "device": f"tap{number}",
        **changes,
    }
    return PortSpec(**values)


def domain(guest: GuestSpec, host: xml.Host = QEMU, generation: int = 1) -> str:
    return xml.domain(guest, generation, disks.layout(FOLDER, guest), host)


def way(kind: str = "file", *, volume: dict[str, object] | None = None, **data: object) -> xml.Way:
    fields = {"volume_id": "v-1", "attachment_id": "a", "device": "/dev/vdb"} | (volume or {})
    return xml.Way(volume=VolumeSpec(**fields), kind=kind, data={"device_path": "/volumes/v-1"} | data)  # type: ignore[arg-type]


def test_a_guest_boots_from_a_volume_and_has_no_root_disk() -> None:
    root = way(volume={"device": "/dev/vda", "boot_index": 0})
    swap = DiskSpec(name="swap", size_mib=64)
    guest = spec(image=None, volumes=(root.volume,), volume_properties={"hw_machine_type": "q35"}, disks=(swap,))
    tree = Tree.fromstring(xml.domain(guest, 1, disks.layout(FOLDER, guest), QEMU, (root,)))
    assert [disk.find("target").get("dev") for disk in tree.iterfind("devices/disk")] == ["vdb", "vda"]  # type: ignore[union-attr]
    volume = next(disk for disk in tree.iterfind("devices/disk") if disk.findtext("serial") == "v-1")
    assert (volume.find("source").get("file"), volume.find("boot").get("order")) == ("/volumes/v-1", "1")  # type: ignore[union-attr]
    assert volume.find("driver").get("type") == "raw", "whatever a guest wrote into it (SEC-004)"  # type: ignore[union-attr]
    assert tree.find("os/boot") is None
    assert tree.find("os/type").get("machine") == "q35"  # type: ignore[union-attr]


def test_a_guest_in_rescue_boots_from_the_rescue_disk_and_not_from_its_root_volume(tmp_path: Path) -> None:
    root = way(volume={"device": "/dev/vda", "boot_index": 0})
    guest = spec(image=None, volumes=(root.volume,))
    image = ImageRef(
        id="rescue", disk_format="qcow2", size_bytes=1, sha512="", properties={"hw_rescue_device": "disk", "hw_rescue_bus": "virtio"}
    )
    text = xml.domain(guest, 1, rescue.layout(disks.layout(FOLDER, guest), image, ("vda",)), QEMU, (root,))
    first = [target.get("dev") for target in Tree.fromstring(text).iterfind("devices/disk[boot]/target")]
    assert first == ["vdb"]
    assert_valid(text, tmp_path)


VOLUME = "0b8a6a0e-5c1f-4d6c-9d0a-5f3f0f8b7a11"
TARGET: dict[str, Any] = {"target_portal": "10.0.0.1:3260", "target_iqn": "iqn.x", "target_lun": 1}
CHAP = {"auth_method": "CHAP", "auth_username": "anna", "auth_password": "sesame"}
CEPH: dict[str, Any] = {
    **{"name": "pool/v", "hosts": ["h"], "ports": ["6789"], "auth_enabled": True, "auth_username": "nova"},
    "secret_uuid": "457eb676-33da-42ec-9a8c-9293d545c337",
}


def test_ways_to_volumes() -> None:
    guest = spec()
    for kind, data, words in (
        ("rbd", {"name": "pool/v", "hosts": ["h"], "ports": ["6789"]}, 'protocol="rbd"'),
        ("rbd", CEPH, f'<auth username="nova"><secret type="ceph" uuid="{CEPH["secret_uuid"]}" /></auth>'),
        (
            "iscsi",
            TARGET | CHAP,
            f'<auth username="anna"><secret type="iscsi" uuid="{secrets.login_id(guest.instance_id, VOLUME)}" /></auth>',
        ),
        ("iscsi", TARGET, 'name="iqn.x/1"'),
        ("iscsi", TARGET | {"error_policy": "stop"}, 'error_policy="stop"'),
        ("file", {}, 'file="/volumes/v-1"'),
        ("local", {"device_path": "/dev/vg/v"}, '<disk type="block" device="disk">'),
        ("local", {"device_path": "/dev/vg/v"}, '<source dev="/dev/vg/v" />'),
    ):
        assert words in xml.volume(way(kind, volume={"volume_id": VOLUME}, **data), guest, QEMU)
    assert "shareable" in xml.volume(way(volume={"shared": True}), guest, QEMU)
    assert "readonly" in xml.volume(way(volume={"read_only": True}), guest, QEMU)
    assert "readonly" in xml.volume(way(access_mode="ro"), guest, QEMU)
    limited = Tree.fromstring(xml.volume(way(qos_specs={"read_bytes_sec": "1000", "write_iops_sec_max": 5, "minIOPS": "7"}), guest, QEMU))
    assert {limit.tag: limit.text for limit in limited.iterfind("iotune/*")} == {"read_bytes_sec": "1000", "write_iops_sec_max": "5"}
    for refused in (
        way("fibre_channel"),
        way("iscsi", **TARGET, auth_method="Kerberos"),
        way("file", auth_enabled=True),
        way(qos_specs={"total_iops_sec": "many"}),
    ):
        with pytest.raises(Unsupported):
            xml.volume(refused, guest, QEMU)


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("file", {}),
        ("file", {"format": "qcow2"}),
        ("nbd", {"name": "v", "socket": "/s"}),
        ("iscsi", TARGET),
        ("rbd", {"name": "p/v", "hosts": [], "ports": []}),
    ],
)
def test_an_encrypted_volume_is_never_shown_to_a_guest_as_it_lies(kind: str, data: dict[str, Any]) -> None:
    """SEC-036: every description of it, with the domain or plugged later, has QEMU open it; without a key there is none."""
    known = way(kind, volume={"volume_id": VOLUME}, encrypted=True, **data)
    guest = spec(volumes=(known.volume,))
    for text in (xml.volume(known, guest, QEMU), xml.domain(guest, 1, disks.layout(FOLDER, guest), QEMU, (known,))):
        found = [source for source in Tree.fromstring(text).iter("source") if source.get("file") or source.get("protocol")]
        (source,) = [s for s in found if s.get("protocol") or str(s.get("file")).startswith("/volumes")]
        assert [e.get("format") for e in source.iterfind("encryption")] == ["luks"]
    with (
        contextlib.closing(libvirt.open("test:///default")) as connection,
        pytest.raises(Unsupported, match="what opens encrypted volumes"),
    ):
        secrets.keep(connection, guest.instance_id, VOLUME, "")


def test_what_opens_an_encrypted_volume_is_named_and_not_told() -> None:
    known = way(volume={"volume_id": VOLUME}, encrypted=True, passphrase="sesame")
    guest = spec(volumes=(known.volume,))
    text = xml.domain(guest, 1, disks.layout(FOLDER, guest), QEMU, (known,))
    (secret,) = Tree.fromstring(text).iterfind("devices/disk/source/encryption[@format='luks']/secret")
    assert secret.attrib == {"type": "passphrase", "uuid": VOLUME}
    assert "sesame" not in text


KERNEL = ImageRef(id="kernel", disk_format="aki", size_bytes=1, sha512="")
EVERYTHING = {
    "plain": spec(),
    "disks": spec(disks=(DiskSpec(name="ephemeral0", size_mib=1024), DiskSpec(name="swap", size_mib=64)), config_drive=True),
    "ports": spec(ports=(port(1), port(2, mtu=9000))),
    "q35": spec({"hw_machine_type": "q35", "hw_cdrom_bus": "sata"}, config_drive=True, ports=(port(1),)),
    "uefi": spec({"hw_firmware_type": "uefi", "hw_cdrom_bus": "scsi", "hw_disk_bus": "scsi"}, config_drive=True),
    "windows": spec({"os_type": "windows", "hw_vif_model": "e1000", "hw_disk_bus": "ide"}, ports=(port(1),)),
    "agent": spec({"hw_qemu_guest_agent": "yes"}),
    "usb": spec({"hw_disk_bus": "usb"}),
    "limits": spec(extra_specs={"quota:disk_read_iops_sec": "100", "hw:cpu_cores": "2", "hw:cpu_threads": "2"}),
    "kernel": spec(image=ImageRef(id="image", disk_format="raw", size_bytes=1, sha512="", kernel=KERNEL, ramdisk=KERNEL)),
    "no image": spec(image=None),
}


@pytest.mark.parametrize("bus", ["scsi", "sata", "usb", "ide"])
def test_a_config_drive_leaves_volumes_the_names_after_the_disks(bus: str) -> None:
    guest = spec({"hw_cdrom_bus": bus, "hw_disk_bus": bus, "hw_machine_type": "pc"}, config_drive=True)
    drive = disks.layout(FOLDER, guest).disks[-1]
    prefix = devices.prefix_of(bus)
    assert drive.device == "cdrom"
    assert f"/dev/{drive.target}" != devices.next_name(devices.made_by_host({}, prefix), prefix)


SCREENS = xml.Host(virt_type="qemu", consoles=("vnc", "spice", "serial"))
CLIPBOARD = xml.Host(virt_type="qemu", consoles=("vnc",), vnc_clipboard=True)
PASSTHROUGH = xml.Host(virt_type="kvm", cpu_model="host-passthrough")


@pytest.mark.parametrize("host", [KVM, QEMU, PASSTHROUGH, SCREENS, CLIPBOARD], ids=["kvm", "qemu", "passthrough", "screens", "clipboard"])
@pytest.mark.parametrize("guest", EVERYTHING.values(), ids=EVERYTHING.keys())
def test_libvirts_schema_accepts_it(guest: GuestSpec, host: xml.Host, tmp_path: Path) -> None:
    assert_valid(domain(guest, host), tmp_path)


def test_an_agent_in_the_guest_shares_its_clipboard_by_one_channel() -> None:
    def channels(host: xml.Host) -> list[str | None]:
        root = Tree.fromstring(domain(spec(), host))
        return [
            channel.get("type")
            for channel in root.iterfind("devices/channel")
            if channel.find("target[@name='com.redhat.spice.0']") is not None
        ]

    assert channels(SCREENS) == channels(msgspec.structs.replace(SCREENS, vnc_clipboard=True)) == ["spicevmc"]
    assert channels(CLIPBOARD) == ["qemu-vdagent"]
    assert channels(msgspec.structs.replace(CLIPBOARD, vnc_clipboard=False)) == []


@given(name=st.text(), generation=st.integers(0, 2**63), project=st.text(min_size=1))
def test_the_mark_comes_back_whatever_the_names_hold(name: str, generation: int, project: str) -> None:
    text = domain(spec(display_name=name, project_id=project), generation=generation)
    mark = Tree.fromstring(text).find(f"metadata/{{{xml.NAMESPACE}}}instance")
    assert mark is not None
    read = xml.read_mark(Tree.tostring(mark, encoding="unicode"))
    assert (read.generation, read.flavor_name, read.image_id) == (generation, "tiny", "image")
    if name.isprintable():
        assert read.display_name == name


def shape(text: str) -> list[tuple[str, list[str]]]:
    """A document's elements and the names of their attributes."""
    return [(element.tag, sorted(element.attrib)) for element in Tree.fromstring(text).iter()]


BREAKERS = (
    "</name><x/>",
    '"><x a="',
    "]]>",
    "<!--",
    "-->",
    "&lt;x/&gt;",
    "&x;",
    "\n\t<x/>",
    "<?x?>",
    "'/><x b='",
    "$(id)",
    "`id`",
    "%s{0}",
)


@given(st.one_of(st.text(min_size=1), st.sampled_from(BREAKERS)))
def test_whatever_users_write_adds_nothing_to_the_domain(written: str) -> None:
    """SEC-055"""

    def everywhere(text: str) -> str:
        root = way(volume={"volume_id": "v", "serial": text, "tag": text})
        names = {f"{of}_{what}": text for of in ("project", "user") for what in ("id", "name")}
        cards = (port(1, tag=text, network_label=text, project_id=text),)
        properties = {"os_command_line": text, "os_distro": text, "own": text}
        guest = spec(properties, display_name=text, flavor_name=text, ports=cards, volumes=(root.volume,), **names)
        return xml.domain(guest, 1, disks.layout(FOLDER, guest), QEMU, (root,))

    assert shape(everywhere(written)) == shape(everywhere("plain"))


def test_every_disk_names_its_format_and_none_is_guessed() -> None:
    root = Tree.fromstring(domain(EVERYTHING["disks"]))
    formats = {disk.find("source").get("file"): disk.find("driver").get("type") for disk in root.findall("devices/disk")}
    assert formats == {
        f"{FOLDER}/disk": "qcow2",
        f"{FOLDER}/disk.eph0": "qcow2",
        f"{FOLDER}/disk.swap": "qcow2",
        f"{FOLDER}/disk.config": "raw",
    }


def test_cards_use_taps_that_are_there_already_and_unplugged_ports_have_none() -> None:
    root = Tree.fromstring(domain(spec(ports=(port(1), port(2, plug=False)))))
    assert [(t.get("dev"), t.get("managed")) for t in root.findall("devices/interface/target")] == [("tap1", "no")]


def test_a_topology_that_does_not_give_the_vcpus_is_passed_over() -> None:
    fits = Tree.fromstring(domain(EVERYTHING["limits"])).find("cpu/topology")
    does_not = Tree.fromstring(domain(spec(extra_specs={"hw:cpu_cores": "3"}))).find("cpu/topology")
    assert fits is not None
    assert does_not is not None
    assert fits.attrib == {"sockets": "1", "cores": "2", "threads": "2"}
    assert does_not.attrib == {"sockets": "4", "cores": "1", "threads": "1"}


@pytest.mark.parametrize("properties", [{"hw_disk_bus": "fdc"}, {"hw_vif_model": "carrier-pigeon"}])
def test_hardware_that_is_unknown_is_refused(properties: dict[str, str]) -> None:
    with pytest.raises(Unsupported):
        domain(spec(properties, ports=(port(1),)))


def test_a_disk_cannot_be_named_out_of_its_folder() -> None:
    with pytest.raises(Invalid):
        domain(spec(disks=(DiskSpec(name="../../etc/passwd", size_mib=1),)))


def test_a_guest_that_moves_is_described_with_the_destinations_files_cpus_and_sockets() -> None:
    """SEC-018."""
    from nova_async.model.topology import Fit, FittedCell
    from nova_async.virt.libvirt import target
    from nova_async.virt.libvirt.meeting import Place

    here = Fit(cells=(FittedCell(host_cell=0, cpus=(0, 1, 2, 3), memory_mib=512, pins=((0, 4), (1, 5), (2, 6), (3, 7))),))
    there = Fit(cells=(FittedCell(host_cell=1, cpus=(0, 1, 2, 3), memory_mib=512, pins=((0, 8), (1, 9), (2, 10), (3, 11))),))
    host = xml.Host(virt_type="qemu", consoles=("vnc", "serial"))
    text = xml.domain(spec(fit=here), 1, disks.layout(FOLDER, spec()), host)
    moved = target.described_for(text, spec(fit=there), 2, FOLDER, Place(folder="/other/instances/x"))
    root = Tree.fromstring(moved)
    assert str(FOLDER) not in moved
    assert xml.read_mark(Tree.tostring(root.find("metadata")[0], encoding="unicode")).generation == 2  # type: ignore[index]
    assert [pin.get("cpuset") for pin in root.iterfind("cputune/vcpupin")] == ["8", "9", "10", "11"]
    assert [node.get("nodeset") for node in root.iterfind("numatune/memory")] == ["1"]
    assert len(root.findall("cpu/numa")) == 1


def test_a_guest_that_moves_has_its_volumes_by_the_destinations_ways() -> None:
    """INV-25: nothing at the destination hangs on what the source has."""
    from nova_async.virt.libvirt import target
    from nova_async.virt.libvirt.meeting import Place

    here = way("nbd", name="a-1", socket="/state/ways/a-1/socket")
    guest = spec(volumes=(here.volume,))
    text = xml.domain(guest, 1, disks.layout(FOLDER, guest), QEMU, (here,))
    for there in (way("nbd", name="a-2", socket="/else/ways/a-2/socket"), way("file", device_path="/volumes/v-2")):
        place = Place(folder="/other", volumes={there.volume.volume_id: xml.volume(there, guest, QEMU)})
        moved = Tree.fromstring(target.described_for(text, guest, 2, FOLDER, place))
        was, known = (
            next(disk for disk in root.iterfind("devices/disk") if disk.findtext("serial")) for root in (Tree.fromstring(text), moved)
        )
        wanted = Tree.fromstring(place.volumes[there.volume.volume_id])
        assert known.get("type") == wanted.get("type")
        for name in ("source", "driver"):
            assert [Tree.tostring(each) for each in known.findall(name)] == [Tree.tostring(each) for each in wanted.findall(name)]
        assert Tree.tostring(known.find("target")) == Tree.tostring(was.find("target"))  # type: ignore[arg-type]
        assert "a-1" not in Tree.tostring(moved, encoding="unicode")
    with pytest.raises(Error, match="no way to a volume"):
        target.described_for(text, guest, 2, FOLDER, Place(folder="/other"))


def test_a_disk_keeps_its_name_and_serial_number_when_another_volume_takes_its_place() -> None:
    """A running guest cannot be told a new one; the first volume may come back beside it."""
    swapped = way("nbd", volume={"volume_id": "v-2", "serial": "v-1"}, name="a-2", socket="/s")
    back = way("nbd", volume={"device": "/dev/vdc"}, name="a-3", socket="/t")
    guest = spec(volumes=(swapped.volume, back.volume))
    root = Tree.fromstring(xml.domain(guest, 1, disks.layout(FOLDER, guest), QEMU, (swapped, back)))
    found = {xml.known_as(disk): disk.find("source").get("name") for disk in root.iterfind("devices/disk") if disk.findtext("serial")}  # type: ignore[union-attr]
    assert found == {("vdb", "v-1"): "a-2", ("vdc", "v-1"): "a-3"}
    assert [each.known_as for each in guest.volumes] == list(found)


WISHES = {  # what is asked for -> what the domain has
    "hw:watchdog_action=reset": ("devices/watchdog", {"model": "i6300esb", "action": "reset"}),
    "hw_watchdog_action=poweroff": ("devices/watchdog", {"action": "poweroff"}),
    "hw_rng:rate_bytes=1024": ("devices/rng/rate", {"bytes": "1024"}),
    "hw:pmu=false": ("features/pmu", {"state": "off"}),
    "hw_pmu=true": ("features/pmu", {"state": "on"}),
    "hw:hide_hypervisor_id=yes": ("features/kvm/hidden", {"state": "on"}),
    "img_hide_hypervisor_id=true": ("features/kvm/hidden", {"state": "on"}),
    "hw:boot_menu=true": ("os/bootmenu", {"enable": "yes"}),
    "hw_boot_menu=true": ("os/bootmenu", {"enable": "yes"}),
    "hw_video_model=vga": ("devices/video/model", {"type": "vga"}),
    "hw_input_bus=virtio": ("devices/input", {"type": "tablet", "bus": "virtio"}),
    "hw_pointer_model=usbtablet": ("devices/input", {"type": "tablet", "bus": "usb"}),
    "hw:usb_model=nec-xhci": ("devices/controller", {"type": "usb", "model": "nec-xhci"}),
    "hw_usb_model=qemu-xhci": ("devices/controller", {"type": "usb", "model": "qemu-xhci"}),
    "hw:sound_model=ich9": ("devices/sound", {"model": "ich9"}),
    "hw_sound_model=ac97": ("devices/sound", {"model": "ac97"}),
    "hw:tpm_version=2.0": ("devices/tpm/backend", {"type": "emulator", "version": "2.0"}),
    "hw_tpm_version=1.2": ("devices/tpm/backend", {"version": "1.2"}),
    "hw_time_hpet=true": ("clock/timer[@name='hpet']", {"present": "yes"}),
    "hw:virtio_packed_ring=true": ("devices/disk/driver", {"packed": "on"}),
    "hw_virtio_packed_ring=true": ("devices/interface/driver", {"packed": "on"}),
    "hw:maxphysaddr_mode=emulate": ("cpu/maxphysaddr", {"mode": "emulate"}),
    "hw_maxphysaddr_mode=emulate": ("cpu/maxphysaddr", {"mode": "emulate"}),
    "trait:HW_CPU_X86_AVX2=required": ("cpu/feature", {"policy": "require", "name": "avx2"}),
    "hw:redirected_usb_ports=2": ("devices/redirdev", {"bus": "usb", "type": "spicevmc"}),
    "hw:serial_port_count=2": ("devices/serial[2]/target", {"port": "1"}),
    "quota:cpu_shares=512": ("cputune/shares", {}),
    "quota:cpu_period=20000": ("cputune/period", {}),
    "quota:cpu_quota=10000": ("cputune/quota", {}),
    "quota:vif_inbound_average=100": ("devices/interface/bandwidth/inbound", {"average": "100"}),
    "quota:vif_outbound_average=200": ("devices/interface/bandwidth/outbound", {"average": "200"}),
    "quota:disk_write_bytes_sec=1024": ("devices/disk/iotune/write_bytes_sec", {}),
    "hw_firmware_type=uefi": ("os/firmware/feature", {"name": "secure-boot", "enabled": "no"}),
    "hw_machine_type=q35": ("devices/controller[@model='pcie-root-port']", {}),
    "hw_vif_model=e1000": ("devices/interface/model", {"type": "e1000"}),
    "hw_qemu_guest_agent=True": ("devices/channel/target", {"name": "org.qemu.guest_agent.0"}),
}
ALL = xml.Host(virt_type="kvm", consoles=("vnc", "spice", "serial"), tpm=True, cpu_model="Nehalem", cpu_features=("+pcid", "-vmx"))


def wished(text: str) -> GuestSpec:
    name, _, word = text.partition("=")
    if ":" in name:
        return spec(extra_specs={name: word}, ports=(port(1),))
    return spec({name: word}, ports=(port(1),))


@pytest.mark.parametrize("text", WISHES)
def test_what_flavors_and_images_ask_for_is_in_the_domain(text: str, tmp_path: Path) -> None:
    guest = wished(text)
    hardware.check(guest, tuning=True, tpm=True, spice=True)
    root = Tree.fromstring(domain(guest, ALL))
    path, attributes = WISHES[text]
    assert [e for e in root.findall(path) if attributes.items() <= e.attrib.items()], Tree.tostring(root, encoding="unicode")
    if path.startswith("cputune"):
        assert root.findtext(path) == text.partition("=")[2]
    test_libvirts_schema_accepts_it(guest, ALL, tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "hw:mem_encryption=true",
        "hw_mem_encryption=true",
        "hw:mem_encryption_model=amd-sev",
        "hw:viommu_model=intel",
        "hw_viommu_model=auto",
        "hw:pmem=6GB",
        "hw:ephemeral_encryption=true",
        "hw_ephemeral_encryption=true",
        "hw:vif_multiqueue_enabled=true",
        "hw_vif_multiqueue_enabled=true",
        "hw_video_model=gop",
        "hw_scsi_model=buslogic",
        "hw_rng_model=egd",
        "hw:sound_model=virtio",
        "hw_architecture=aarch64",
        "hw_emulation_architecture=ppc64le",
        "hw_vm_mode=xen",
        "hw:tpm_version=2.0",
        "hw:redirected_usb_ports=1",
        "os:secure_boot=required",
        "os_secure_boot=required",
        "quota:cpu_shares=100",
        "hw_video_ram=64",
        "hw:serial_port_count=9",
    ],
)
def test_what_a_host_cannot_give_is_refused_by_name(text: str) -> None:
    with pytest.raises(Unsupported, match=text.partition("=")[0].replace("os_secure", "os:secure")):
        hardware.check(wished(text), tuning=False, tpm=False, spice=False)


@pytest.mark.parametrize("word", ["Required", "REQUIRED", " required", "required\n", "r\u0435quired"])
def test_secure_boot_in_other_letters_is_refused_and_not_left_out(word: str) -> None:
    """SEC-059"""
    for guest in (
        spec({"hw_firmware_type": "uefi", "os_secure_boot": word}),
        spec({"hw_firmware_type": "uefi"}, extra_specs={"os:secure_boot": word}),
        spec({"hw_firmware_type": word.replace("required", "uefi").replace("Required", "UEFI").replace("REQUIRED", "Uefi")}),
    ):
        with pytest.raises(Unsupported, match="choose one of"):
            hardware.check(guest, tuning=True, tpm=True, spice=True)


def test_secure_boot_has_what_it_needs(tmp_path: Path) -> None:
    guest = spec({"hw_firmware_type": "uefi", "os_secure_boot": "required"})
    root = Tree.fromstring(domain(guest, ALL))
    assert root.find("features/smm[@state='on']") is not None
    assert root.find("os/firmware/feature[@enabled='yes']") is not None
    test_libvirts_schema_accepts_it(guest, ALL, tmp_path)


def test_a_guest_learns_no_serial_number_but_its_own() -> None:
    """SEC-068"""
    root = Tree.fromstring(domain(spec(), KVM))
    told = {entry.get("name"): entry.text for entry in root.iterfind("sysinfo[@type='smbios']/system/entry")}
    assert (told["serial"], told["uuid"], root.findtext("uuid")) == (FOLDER.name,) * 3
    smbios = root.find("os/smbios")
    assert smbios is not None
    assert smbios.get("mode") == "sysinfo"  # "host" would show the host's


def test_a_plain_guest_has_no_device_that_nothing_asked_for() -> None:
    """SEC-074."""
    root = Tree.fromstring(domain(spec(), xml.Host(virt_type="kvm", consoles=("vnc", "serial"))))
    devices = sorted({element.tag for element in root.find("devices") or ()})
    assert devices == ["controller", "disk", "graphics", "memballoon", "rng", "serial", "video"]
    assert [c.get("model") for c in root.iterfind("devices/controller")] == ["none"]  # no USB
    paths = {v for e in root.iter() for v in (*e.attrib.values(), e.text or "") if v.startswith("/")}
    assert all(path.startswith((str(FOLDER), xml.SERIAL_SOCKETS)) or path == "/dev/urandom" for path in paths)
