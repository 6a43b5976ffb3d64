"""The documents that a guest may read about itself, in EC2's form and in OpenStack's.

Both forms are trees of texts: ``ec2`` and ``openstack`` answer one path of them, ``config_drive_files`` writes them out.
Names, versions and shapes are Nova's.
"""

import base64
import hashlib
import ipaddress
from typing import Any

import msgspec

from nova_async.errors import NotFound
from nova_async.model import tagged_devices
from nova_async.model.guests import PortSpec
from nova_async.model.tagged_devices import LATEST, DeviceAddress, TaggedDevice
from nova_async.world import World

EC2_VERSIONS = (
    "1.0",
    "2007-01-19",
    "2007-03-01",
    "2007-08-29",
    "2007-10-10",
    "2007-12-15",
    "2008-02-01",
    "2008-09-01",
    "2009-04-04",
)
# The first version that has a key; the others are in all of them.
EC2_SINCE = {
    "local-hostname": "2007-01-19",
    "public-hostname": "2007-01-19",
    "public-ipv4": "2007-01-19",
    "instance-type": "2007-08-29",
    "block-device-mapping": "2007-12-15",
    "kernel-id": "2007-12-15",
    "ramdisk-id": "2007-12-15",
    "placement": "2008-02-01",
    "instance-action": "2008-09-01",
}
OPENSTACK_VERSIONS = (
    "2012-08-10",
    "2013-04-04",
    "2013-10-17",
    "2015-10-15",
    "2016-06-30",
    "2016-10-06",
    "2017-02-22",
    "2018-08-27",
    "2020-10-14",
    "2025-04-04",
)
OPENSTACK_SINCE = {
    "meta_data.json": "2012-08-10",
    "user_data": "2012-08-10",
    "password": "2013-04-04",
    "vendor_data.json": "2013-10-17",
    "network_data.json": "2015-10-15",
    "vendor_data2.json": "2016-10-06",
}
# Members of meta_data.json that came later.
MEMBERS_SINCE = {"random_seed": "2013-04-04", "project_id": "2015-10-15", "devices": tagged_devices.SINCE, "dedicated_cpus": "2020-10-14"}
CONFIG_DRIVE_EC2 = ("2009-04-04", "latest")
STATIC = "static"  # in vendor_data2.json, what every guest is told
Tree = dict[str, "Tree | str | bytes"]


class InstanceMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """All that the documents of one server are made of."""

    uuid: str
    number: int  # of the server, for EC2's ids
    project_id: str
    name: str
    hostname: str  # with the domain
    launch_index: int = 0
    reservation_id: str = ""
    availability_zone: str = ""
    metadata: dict[str, str] = {}
    user_data: bytes | None = None
    keys: tuple[dict[str, str], ...] = ()  # name, type (ssh, x509), data
    security_groups: tuple[str, ...] = ()
    flavor_name: str = ""
    image_id: str = ""
    kernel_id: str = ""
    ramdisk_id: str = ""
    root_device: str = "/dev/vda"
    ephemerals: tuple[str, ...] = ()  # device names
    volumes: tuple[str, ...] = ()  # device names
    swap: str = ""
    public_ipv4: str = ""
    ports: tuple[PortSpec, ...] = ()
    tagged: tuple[TaggedDevice, ...] = ()
    addresses: tuple[DeviceAddress, ...] = ()  # where they are
    files: tuple[tuple[str, str], ...] = ()  # path in the guest, base64
    vendor_data: dict[str, Any] = {}
    dynamic: dict[str, Any] | None = None  # what vendor data services said, by their names; None: they were not asked
    password: str = ""
    random_seed: str = ""  # base64 of 512 octets
    admin_pass: str = ""  # for a config drive only
    dedicated_cpus: tuple[int, ...] = ()


def random_seed(world: World) -> str:
    """512 octets that no other server has, in base64."""
    return base64.b64encode(hashlib.shake_256(world.secret(64).encode()).digest(512)).decode()


def ec2(m: InstanceMetadata, path: str) -> bytes:
    """One EC2 document, or the names below a path, one a line. Raises ``NotFound``."""
    words = [word for word in path.split("/") if word]
    if words[:1] == ["ec2"]:
        words = words[1:]
    if not words:
        return "\n".join((*EC2_VERSIONS, LATEST)).encode()
    version = words[0]
    if version not in (*EC2_VERSIONS, LATEST):
        raise NotFound()
    node: Tree | str | bytes = _ec2_tree(m, version)
    for word in words[1:]:
        if not isinstance(node, dict) or word not in node:
            raise NotFound()
        node = node[word]
    if isinstance(node, dict):
        return _names(node, m).encode()
    return node if isinstance(node, bytes) else node.encode()


def _names(node: Tree, m: InstanceMetadata) -> str:
    if node and set(node) <= {str(n) for n in range(len(m.keys))}:
        return "\n".join(f"{n}={key['name']}" for n, key in enumerate(m.keys))
    return "\n".join(f"{name}/" if isinstance(node[name], dict) else name for name in sorted(node))


def _ec2_tree(m: InstanceMetadata, version: str) -> Tree:
    tree: Tree = {"meta-data": {name: value for name, value in _ec2_meta_data(m).items() if _since(EC2_SINCE, name, version)}}
    if m.user_data is not None:
        tree["user-data"] = m.user_data
    return tree


def _ec2_meta_data(m: InstanceMetadata) -> Tree:
    meta: Tree = {
        "ami-id": _ec2_id("ami", m.image_id),
        "ami-launch-index": str(m.launch_index),
        "ami-manifest-path": "FIXME",  # the very word that Nova tells its guests here
        "block-device-mapping": _block_devices(m),
        "hostname": m.hostname,
        "instance-action": "none",
        "instance-id": f"i-{m.number:08x}",
        "instance-type": m.flavor_name,
        "local-hostname": m.hostname,
        "local-ipv4": next((ip.address for port in m.ports for ip in port.fixed_ips if ip.version == 4), ""),
        "placement": {"availability-zone": m.availability_zone},
        "public-hostname": m.hostname,
        "public-ipv4": m.public_ipv4,
        "reservation-id": m.reservation_id,
        "security-groups": "\n".join(" ".join(name.splitlines()) for name in m.security_groups),  # one a line, whatever they are called
    }
    if m.keys:
        meta["public-keys"] = {str(n): {"openssh-key": key["data"]} for n, key in enumerate(m.keys)}
    if m.kernel_id:
        meta["kernel-id"] = _ec2_id("aki", m.kernel_id)
    if m.ramdisk_id:
        meta["ramdisk-id"] = _ec2_id("ari", m.ramdisk_id)
    return meta


def _block_devices(m: InstanceMetadata) -> Tree:
    devices: Tree = {"ami": m.root_device.removeprefix("/dev/"), "root": m.root_device}
    devices |= {f"ephemeral{n}": name for n, name in enumerate(m.ephemerals)}
    devices |= {f"ebs{n}": name for n, name in enumerate(m.volumes)}
    return devices | ({"swap": m.swap} if m.swap else {})


def _ec2_id(kind: str, image_id: str) -> str:
    return f"{kind}-{image_id.replace('-', '')[:8] or '00000000'}"


def openstack(m: InstanceMetadata, path: str) -> bytes:
    """One document below ``/openstack``, or the names there, one a line. Raises ``NotFound``."""
    words = [word for word in path.split("/") if word][1:]
    if not words:
        return "\n".join((*OPENSTACK_VERSIONS, LATEST)).encode()
    if words[0] == "content" and len(words) == 2:
        return _content(m, words[1])
    if words[0] not in (*OPENSTACK_VERSIONS, LATEST) or len(words) > 2:
        raise NotFound()
    documents = openstack_documents(m, words[0])
    if len(words) == 1:
        return "\n".join([*documents, *(["password"] if _since(OPENSTACK_SINCE, "password", words[0]) else [])]).encode()
    if words[1] not in documents:
        raise NotFound()
    return documents[words[1]]


def openstack_documents(m: InstanceMetadata, version: str, *, admin_pass: bool = False) -> dict[str, bytes]:
    """The documents of one version by name; the password is none of them."""
    documents = {
        "meta_data.json": _json(meta_data(m, version, admin_pass=admin_pass)),
        "user_data": m.user_data,
        "vendor_data.json": _json(m.vendor_data),
        "network_data.json": _json(network_data(m)),
        "vendor_data2.json": _json({STATIC: m.vendor_data, **(m.dynamic or {})}),
    }
    return {name: text for name, text in documents.items() if text is not None and _since(OPENSTACK_SINCE, name, version)}


def meta_data(m: InstanceMetadata, version: str, *, admin_pass: bool = False) -> dict[str, Any]:
    """``meta_data.json``; the administrator's password only where it is asked for."""
    document: dict[str, Any] = {"uuid": m.uuid}
    if m.metadata:
        document["meta"] = m.metadata
    if m.files:
        document["files"] = [{"content_path": f"/content/{n:04d}", "path": path} for n, (path, _) in enumerate(m.files)]
    if m.keys:
        document["public_keys"] = {key["name"]: key["data"] for key in m.keys}
        document["keys"] = list(m.keys)
    document |= {
        "hostname": m.hostname,
        "name": m.name,
        "launch_index": m.launch_index,
        "availability_zone": m.availability_zone,
        "random_seed": m.random_seed,
        "project_id": m.project_id,
        "devices": tagged_devices.described(m.tagged, m.addresses, version),
        "dedicated_cpus": list(m.dedicated_cpus),
    }
    if admin_pass and m.admin_pass:
        document["admin_pass"] = m.admin_pass
    return {name: value for name, value in document.items() if _since(MEMBERS_SINCE, name, version)}


def network_data(m: InstanceMetadata) -> dict[str, Any]:
    """``network_data.json``: links, the networks on them, and the DNS servers."""
    links = [
        {"id": port.device, "vif_id": port.id, "type": "bridge", "mtu": port.mtu, "ethernet_mac_address": port.mac} for port in m.ports
    ]
    addressed = [(port, ip) for port in m.ports for ip in port.fixed_ips]
    networks = [_network(n, port, ip) for n, (port, ip) in enumerate(addressed)]
    servers = dict.fromkeys(server for port in m.ports for server in port.dns_servers)
    return {"links": links, "networks": networks, "services": [{"type": "dns", "address": server} for server in servers]}


def _network(n: int, port: PortSpec, ip: Any) -> dict[str, Any]:
    common = {"id": f"network{n}", "link": port.device, "network_id": port.network_id}
    if port.dhcp and ip.dhcp and ip.version == 4:
        return {**common, "type": "ipv4_dhcp"}
    mode = f"_{ip.address_mode}" if ip.address_mode else ""
    network = ipaddress.ip_network(ip.cidr)
    routes = [("0.0.0.0/0", port.gateway)] if port.gateway and ip.version == 4 and ipaddress.ip_address(port.gateway) in network else []
    routes += [(to, via) for to, via in port.routes if ipaddress.ip_network(to).version == ip.version]
    return {
        **common,
        "type": f"ipv{ip.version}{mode}",
        "ip_address": ip.address,
        "netmask": str(network.netmask),
        "routes": [
            {"network": str(ipaddress.ip_network(to).network_address), "netmask": str(ipaddress.ip_network(to).netmask), "gateway": via}
            for to, via in routes
        ],
        "services": [{"type": "dns", "address": server} for server in port.dns_servers if (":" in server) is (ip.version == 6)],
    }


def config_drive_files(m: InstanceMetadata) -> dict[str, bytes]:
    """Path -> content of the whole drive."""
    files: dict[str, bytes] = {}
    for version in CONFIG_DRIVE_EC2:
        files[f"ec2/{version}/meta-data.json"] = _json(_flat_ec2(m, version))
        if m.user_data is not None:
            files[f"ec2/{version}/user-data"] = m.user_data
    for version in (*OPENSTACK_VERSIONS, LATEST):
        for name, text in openstack_documents(m, version, admin_pass=True).items():
            files[f"openstack/{version}/{name}"] = text
    for n in range(len(m.files)):
        files[f"openstack/content/{n:04d}"] = _content(m, f"{n:04d}")
    return files


def _flat_ec2(m: InstanceMetadata, version: str) -> Tree:
    """EC2's tree as one object; the drive names keys by their place."""
    meta: Any = _ec2_tree(m, version)["meta-data"]
    if m.keys:
        meta["public-keys"] = {str(n): {"_name": f"{n}={key['name']}", "openssh-key": key["data"]} for n, key in enumerate(m.keys)}
    return meta  # type: ignore[no-any-return]


def _content(m: InstanceMetadata, name: str) -> bytes:
    if not (name.isascii() and name.isdigit() and len(name) == 4 and int(name) < len(m.files)):
        raise NotFound()
    return base64.b64decode(m.files[int(name)][1])


def _since(table: dict[str, str], name: str, version: str) -> bool:
    return version == LATEST or table.get(name, "") <= version


def _json(value: Any) -> bytes:
    return msgspec.json.encode(value)
