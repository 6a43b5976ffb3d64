"""What the control plane adds to libvirt's own time: POST to ACTIVE beside a bare define + create of the same domain, in turns.

When a server became ACTIVE its instance action tells: who kept asking would take the processor from QEMU.
"""

import asyncio
import os
import shutil
import time
import uuid
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.bench.__main__ import Cloud

ROUNDS = 12
UNASKED_SECONDS = 1.0  # by then a server is ACTIVE
SETTLED_SECONDS = 0.5  # what the guest before left behind is taken down by then


def possible() -> bool:
    """Only root can run guests here, and only with libvirt and QEMU."""
    try:
        import libvirt  # noqa: F401
    except ImportError:
        return False
    return os.geteuid() == 0 and shutil.which("qemu-system-x86_64") is not None


async def measure(cloud: "Cloud") -> tuple[list[float], list[float]]:
    """Seconds of each bare define + create, and of each POST to ACTIVE."""
    image = await _image(cloud)
    cloud.image = image
    bare, ours = [], []
    for i in range(ROUNDS):
        await asyncio.sleep(SETTLED_SECONDS)
        began = time.time()
        server = await cloud.boot(f"h{i}")
        await asyncio.sleep(UNASKED_SECONDS)
        await cloud.until_active(server, 0.25)
        ours.append(await _made(cloud, server) - began)
        text = await asyncio.to_thread(_copied, cloud.state, server)
        await cloud.delete(server)
        await cloud.until_gone(server)
        await asyncio.sleep(SETTLED_SECONDS)
        bare.append(await asyncio.to_thread(_bare, cloud.state, text))  # with no other guest beside it, as ours had none
    return bare, ours


async def _made(cloud: "Cloud", server: str) -> float:
    """When the last event of the server's creation ended, in seconds since 1970."""
    actions = f"/compute/v2.1/servers/{server}/os-instance-actions"
    (create,) = (await cloud.get(actions))["instanceActions"]
    events = (await cloud.get(f"{actions}/{create['request_id']}"))["instanceAction"]["events"]
    return max(datetime.fromisoformat(event["finish_time"]).replace(tzinfo=UTC).timestamp() for event in events)


async def _image(cloud: "Cloud") -> str:
    body = {"name": "blank", "disk_format": "raw", "container_format": "bare", "visibility": "public"}
    url = "http://" + cloud.listen
    async with cloud.session.post(f"{url}/image/v2/images", json=body) as answer:
        image = (await answer.json())["id"]
    headers = {"Content-Type": "application/octet-stream"}
    async with cloud.session.put(f"{url}/image/v2/images/{image}/file", data=bytes(2**20), headers=headers) as answer:
        answer.raise_for_status()
    return str(image)


def _connection(state: Path) -> Any:
    import libvirt

    from nova_async.virt.libvirt.daemon import answers, private_uri

    return libvirt.open(private_uri(state) if asyncio.run(answers(private_uri(state))) else "qemu:///system")


def _copied(state: Path, server: str) -> str:
    """The XML of a copy of the server's domain, with a copy of its disk."""
    import libvirt

    connection = _connection(state)
    domain = connection.lookupByUUIDString(server)
    tree = ET.fromstring(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
    copy = state / "bare"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(state / "instances" / server, copy)
    os.sync()  # else QEMU, which opens disks past the page cache, waits for the copy to be written
    for element in tree.iter():
        for key, value in element.attrib.items():
            element.attrib[key] = value.replace(f"{state}/instances/{server}", str(copy)).replace("/serial/", "/serial/bare-")
    for name in ("uuid", "name"):
        tree.find(name).text = str(uuid.uuid4())  # type: ignore[union-attr]
    for entry in tree.iter("entry"):
        if entry.text == server:
            entry.text = tree.find("uuid").text  # type: ignore[union-attr]
    connection.close()
    return ET.tostring(tree, encoding="unicode")


def _bare(state: Path, text: str) -> float:
    """Seconds that libvirt alone takes to define and create the domain."""
    connection = _connection(state)
    began = time.monotonic()
    made = connection.defineXML(text)
    made.create()
    seconds = time.monotonic() - began
    made.destroy()
    made.undefine()
    connection.close()
    return seconds
