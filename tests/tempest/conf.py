"""``tempest.conf`` for a running cloud: what it has is asked of the cloud itself, what Tempest needs is made there."""

import asyncio
import configparser
import json
from pathlib import Path
from typing import Any

import aiohttp

from nova_async.cli.client import Client
from nova_async.cli.clouds import client_of
from nova_async.config import SchedulerSection
from nova_async.services.image.blank import blank_qcow2
from tests.image.signing import Signer, family

ADMIN = "nova-async-admin"
IMAGES = ("tempest", "tempest-alt")
IMAGE_MIB = 64
FLAVORS = ({"name": "tempest", "ram": 192, "vcpus": 1, "disk": 1}, {"name": "tempest-alt", "ram": 256, "vcpus": 1, "disk": 1})
EXTRA_FILTERS = ("DifferentHostFilter", "SameHostFilter")
FILTERS = (*SchedulerSection().filters, *EXTRA_FILTERS)
PUBLIC = {"name": "tempest-public", "router:external": True}
PUBLIC_SUBNET = {"name": "tempest-public", "ip_version": 4, "cidr": "172.31.250.0/24", "enable_dhcp": False}
SHARED_NETWORK = "private"  # where the tests' projects have no networks of their own, for want of routers
# How a guest is reached, with the key of its key pair.
LOGIN: dict[str, Any] = {
    "network_for_ssh": SHARED_NETWORK,
    "image_ssh_user": "root",
    "image_alt_ssh_user": "root",
    "ssh_timeout": 240,
    "ping_timeout": 240,
}
MULTIATTACH = "tempest-multiattach"

COMPUTE_FEATURES = {
    "resize": True,
    "cold_migration": True,
    "live_migration": True,
    "live_migrate_back_and_forth": True,
    "block_migration_for_live_migration": True,
    "volume_backed_live_migration": True,
    "volume_multiattach": True,
    "stable_rescue": True,
    "swap_volume": True,
    "vnc_console": True,
    "spice_console": True,
    "serial_console": True,
    "change_password": True,
    "personality": True,
    "shelve_migrate": True,
    "hostname_fqdn_sanitization": True,
    "attach_encrypted_volume": True,
    "scheduler_enabled_filters": ",".join(FILTERS),
    "nova_policy_roles": "admin,manager,member,reader",
}


async def write(path: Path, clouds: Path, hosts: int, min_microversion: str, guest: Path | None, certificates: Path | None) -> None:
    """Make images, flavors and (where the services are there) a public network and a volume type; write the file.

    ``guest`` is the disk of a guest that can be logged into; without one the disks are blank and nobody tries. ``certificates`` is the
    cloud's folder of those of images; without one images are not signed.
    """
    signed = [signer.put(certificates) for signer in family()] if certificates else []
    url, login, authority = _login(clouds)
    async with client_of(clouds, ADMIN) as admin:
        catalog = {s["type"] for s in (await admin.ask("GET", "/identity/v3/auth/catalog"))["catalog"]}
        images = [await _image(admin, name, guest, signed[-1] if signed else None) for name in IMAGES]
        flavors = [await _flavor(admin, body) for body in FLAVORS]
        extensions = [e["alias"] for e in (await admin.ask("GET", "/network/v2.0/extensions"))["extensions"]]
        routers, volumes = "router" in extensions, bool(catalog & {"block-storage", "volumev3"})
        public = await _public_network(admin) if routers else ""
        multiattach = await _multiattach(admin) if volumes else ""
    sections: dict[str, dict[str, Any]] = {
        "DEFAULT": {"log_file": path.parent / "tempest.log"},
        "oslo_concurrency": {"lock_path": path.parent / "locks"},
        "auth": {
            "use_dynamic_credentials": True,
            "create_isolated_networks": routers,
            "admin_username": login["username"],
            "admin_password": login["password"],
            "admin_project_name": login["project_name"],
            "admin_domain_name": "Default",
            "tempest_roles": "member",
        },
        "identity": {"uri_v3": f"{url}/identity/v3", "auth_version": "v3", "region": login["region"], "ca_certificates_file": authority},
        "identity-feature-enabled": {"application_credentials": True, "access_rules": True, "trust": False},
        "compute": {
            "image_ref": images[0],
            "image_ref_alt": images[1],
            "flavor_ref": flavors[0],
            "flavor_ref_alt": flavors[1],
            "certified_image_ref": images[0] if signed else "",
            "certified_image_trusted_certs": ",".join(signer.id for signer in signed[:-1]),
            "fixed_network_name": "" if routers else SHARED_NETWORK,
            "min_microversion": min_microversion,
            "max_microversion": "latest",
            "min_compute_nodes": hosts,
            "build_interval": 1,
            "build_timeout": 120 if guest is None else 300,
        },
        "compute-feature-enabled": COMPUTE_FEATURES,
        "enforce_scope": {"nova": True},
        "image": {"build_interval": 1, "build_timeout": 60},
        "image-feature-enabled": {"import_image": True},
        "network": {"public_network_id": public, "floating_network_name": PUBLIC["name"] if public else ""},
        "network-feature-enabled": {
            "api_extensions": ",".join(extensions),
            "floating_ips": routers,
            "port_security": True,
            "ipv6_subnet_attributes": True,
        },
        "volume": {
            "min_microversion": "3.0",
            "max_microversion": "latest",
            "build_interval": 1,
            "build_timeout": 60 if guest is None else 240,  # a guest lets go of a volume once its system is up
            "volume_type_multiattach": multiattach,
            "vendor_name": "nova_async",
            "storage_protocol": "file",
        },
        "volume-feature-enabled": {
            "backup": False,
            "manage_volume": False,
            "manage_snapshot": False,
            "extend_attached_volume": True,
            "extend_attached_encrypted_volume": True,
        },
        "scenario": {"img_file": guest, "img_disk_format": "qcow2"} if guest else {},
        "placement": {"min_microversion": "1.0", "max_microversion": "latest"},
        "service_available": {"nova": True, "neutron": True, "glance": True, "cinder": volumes, "swift": False, "horizon": False},
        "validation": LOGIN | {"connect_method": "floating" if routers else "fixed", "run_validation": guest is not None},
    }
    _store(path, sections)


def authority(clouds: Path) -> str:
    """The file of the authority that vouches for the cloud; empty without TLS."""
    return _login(clouds)[2]


def _login(clouds: Path) -> tuple[str, dict[str, str], str]:
    """The cloud's address, who its administrator is, and the file of the authority that vouches for it (empty without TLS)."""
    import yaml

    cloud = yaml.safe_load(clouds.read_text())["clouds"][ADMIN]
    return cloud["auth"]["auth_url"].partition("/identity")[0], {**cloud["auth"], "region": cloud["region_name"]}, cloud.get("cacert", "")


async def _image(admin: Client, name: str, guest: Path | None, signer: Signer | None) -> str:
    known = (await admin.ask("GET", f"/image/v2/images?name={name}&status=active"))["images"]
    if known:
        return str(known[0]["id"])
    body = {"name": name, "disk_format": "qcow2", "container_format": "bare", "visibility": "public"}
    data = await asyncio.to_thread(guest.read_bytes) if guest else blank_qcow2(IMAGE_MIB)
    properties = ({"hw_qemu_guest_agent": "yes"} if guest else {}) | (signer.signed(data) if signer else {})
    image = await admin.ask("POST", "/image/v2/images", body | properties)
    await admin.upload(f"/image/v2/images/{image['id']}/file", aiohttp.BytesPayload(data))
    return str(image["id"])


async def _flavor(admin: Client, body: dict[str, Any]) -> str:
    known = (await admin.ask("GET", "/compute/v2.1/flavors"))["flavors"]
    found = next((f["id"] for f in known if f["name"] == body["name"]), None)
    return str(found or (await admin.ask("POST", "/compute/v2.1/flavors", {"flavor": body}))["flavor"]["id"])


async def _public_network(admin: Client) -> str:
    known = (await admin.ask("GET", "/network/v2.0/networks?router:external=true"))["networks"]
    if known:
        PUBLIC["name"] = known[0]["name"]
        return str(known[0]["id"])
    network = (await admin.ask("POST", "/network/v2.0/networks", {"network": PUBLIC}))["network"]
    await admin.ask("POST", "/network/v2.0/subnets", {"subnet": PUBLIC_SUBNET | {"network_id": network["id"]}})
    return str(network["id"])


async def _multiattach(admin: Client) -> str:
    project = (await admin.ask("GET", "/identity/v3/projects?name=admin"))["projects"][0]["id"]
    types = f"/volume/v3/{project}/types"
    if MULTIATTACH not in {t["name"] for t in (await admin.ask("GET", types))["volume_types"]}:
        await admin.ask("POST", types, {"volume_type": {"name": MULTIATTACH, "extra_specs": {"multiattach": "<is> True"}}})
    return MULTIATTACH


def _store(path: Path, sections: dict[str, dict[str, Any]]) -> None:
    parser = configparser.RawConfigParser()
    for name, options in sections.items():
        if name != "DEFAULT":
            parser.add_section(name)
        for option, value in options.items():
            if value != "":
                parser.set(name, option, json.dumps(value) if isinstance(value, bool) else str(value))
    with path.open("w") as out:
        parser.write(out)
