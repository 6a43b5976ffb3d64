"""The description of a running guest as its next host is to take it."""

from pathlib import Path
from xml.etree import ElementTree as Tree

from nova_async.errors import Error
from nova_async.model.guests import GuestSpec
from nova_async.virt.libvirt import placing
from nova_async.virt.libvirt.meeting import Place
from nova_async.virt.libvirt.parsed import parsed
from nova_async.virt.libvirt.xml import NAMESPACE, known_as

PINS = ("vcpupin", "emulatorpin", "vcpusched")
MARK = f"metadata/{{{NAMESPACE}}}instance/{{{NAMESPACE}}}generation"


def described_for(text: str, guest: GuestSpec, generation: int, here: Path, place: Place) -> str:
    """``text`` with the guest's files in ``place`` instead of ``here``, as of placement ``generation``, on CPUs of the destination.

    Its volumes are reached as ``place.volumes`` says. Sockets that libvirt names get their names at the destination; what a disk is
    based on is read from the disk there.
    """
    root = parsed(text)
    mark = root.find(MARK)
    if mark is None:
        raise Error("The domain says nothing of its server.")
    mark.text = str(generation)
    for element in root.iter():
        for name, value in element.attrib.items():
            element.set(name, _moved(value, here, place.folder))
        if element.text:
            element.text = _moved(element.text, here, place.folder)
    for disk in root.iterfind("devices/disk"):
        for name in ("backingStore", "mirror"):
            for element in disk.findall(name):
                disk.remove(element)
    _reach_volumes(root, place.volumes)
    for screen in root.iterfind("devices/graphics"):
        for element in (screen, *screen.iterfind("listen")):
            element.attrib.pop("socket", None)
    _pin(root, guest, place.cpus)
    return Tree.tostring(root, encoding="unicode")


def _reach_volumes(root: Tree.Element, volumes: dict[str, str]) -> None:
    """What the guest sees of a disk stays; where its bytes are is the destination's. Raises ``Error`` when that has no way to one."""
    known = {known_as(disk): disk for disk in map(parsed, volumes.values())}
    for disk in root.iterfind("devices/disk"):
        there = known.get(known_as(disk))
        if there is None:
            if disk.get("type") == "network":
                raise Error("The destination knows no way to a volume that the guest has.")
            continue
        disk.set("type", there.get("type", ""))
        for name in ("driver", "source"):
            old, new = disk.find(name), there.find(name)
            assert old is not None
            assert new is not None
            index = list(disk).index(old)
            disk.remove(old)
            disk.insert(index, new)


def _pin(root: Tree.Element, guest: GuestSpec, shared: str) -> None:
    """In place of the source's CPUs and cells those that the destination has for the guest; what the guest sees stays."""
    for parent, pins in ((root.find("cputune"), PINS), (root, ("numatune",))):
        for element in [child for child in parent if child.tag in pins] if parent is not None else ():
            parent.remove(element)  # type: ignore[union-attr]
    vcpu = root.find("vcpu")
    if vcpu is not None:
        vcpu.attrib.pop("cpuset", None)
    fresh = Tree.Element("domain")
    Tree.SubElement(fresh, "vcpu")
    placing.place(fresh, guest, shared)
    if vcpu is not None:
        vcpu.attrib.update(fresh[0].attrib)
    for element in [child for child in fresh.findall("cputune/*") if child.tag in PINS]:
        tune = root.find("cputune")
        (Tree.SubElement(root, "cputune") if tune is None else tune).append(element)
    root.extend(fresh.findall("numatune"))


def _moved(value: str, here: Path, there: str) -> str:
    before = f"{here}/"
    return f"{there}/{value.removeprefix(before)}" if value.startswith(before) else value


def own_disks(text: str, here: Path) -> dict[str, str]:
    """The disks below the guest's own folder that it may write: file name -> the name by which the guest knows it (vda)."""
    found = {}
    for disk in parsed(text).iterfind("devices/disk"):
        source, target = disk.find("source"), disk.find("target")
        if source is None or target is None or disk.find("readonly") is not None:
            continue
        path = Path(source.get("file", ""))
        if path.parent == here:
            found[path.name] = target.get("dev", "")
    return found


def processor(text: str) -> str:
    """The guest's processor, as it runs; empty when it has its host's own."""
    cpu = parsed(text).find("cpu")
    if cpu is None or cpu.get("mode") != "custom":
        return ""
    return Tree.tostring(cpu, encoding="unicode")
