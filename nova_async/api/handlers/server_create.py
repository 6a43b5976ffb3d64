"""``POST /servers``: look, check, and in one transaction count, insert and begin.

A caller that sends ``Idempotency-Key`` may repeat the request: the servers' ids come from the key, so that the second
time the first ones are found.
"""

import re
import uuid
from typing import Any

import msgspec

from nova_async import quota
from nova_async.api.handlers import server_topology
from nova_async.api.handlers.block_devices import check_sizes, is_images_own
from nova_async.api.handlers.boot_images import bootable, check_fit, trusted_certificates
from nova_async.api.handlers.boot_volumes import Root, check_root, name_devices, resolve
from nova_async.api.handlers.scheduler_hints import checked, group_of
from nova_async.api.handlers.server_quota import checked_limits, counted, over_quota
from nova_async.api.request import Request
from nova_async.api.schemas import address, truth
from nova_async.api.versions import V
from nova_async.db import instances, server_groups
from nova_async.db.instances import Prepared
from nova_async.errors import Invalid, QuotaExceeded
from nova_async.model.image_properties import renamed
from nova_async.model.instances import ROOT_TAG, Instance
from nova_async.policy import servers as policy
from nova_async.services.image import Image, image_ref
from nova_async.services.network import NetworkRequest

MOST_AT_ONCE = 1000
KEYS = uuid.UUID("4f3a2f0e-6d0c-5c2b-9a55-0d0c1b7a6a11")  # the namespace of ids that come from keys
DISK_PREFIX = {"scsi": "sd", "sata": "sd", "usb": "sd", "ide": "hd"}


class Wish(msgspec.Struct, kw_only=True):
    """What the body asks for, in our words."""

    name: str
    flavorid: str
    image_id: str
    least: int
    most: int
    zone: str | None
    hosts: dict[str, str]  # forced_host, forced_node, requested_host, requested_node
    networks: list[NetworkRequest] | None  # None: the service's choice
    security_groups: list[str]
    body: dict[str, Any]
    hints: dict[str, Any]
    key: str | None  # the caller's own name for this request
    devices: list[dict[str, Any]] = []  # block devices beside an image's own disk
    trusted: list[str] | None = None  # certificates


async def create(request: Request) -> dict[str, Any]:
    """The answer names the first server; the others share its reservation."""
    wish = _read(request)
    ids, names, hostnames = _names(request, wish)
    if wish.key is not None and (earlier := await _earlier(request, ids[0])):
        return _answer_again(request, wish, earlier)
    image = await _image(request, wish)
    wish.devices, root = await resolve(request, wish.body, image, wish.most)
    image = None if root else image
    wish.trusted = trusted_certificates(request, wish.body.get("trusted_image_certificates"))
    if root is not None and wish.trusted:
        raise Invalid("Image certificate validation is not supported when booting from volume")
    wish.networks = await request.parts.networks.check(request.ctx, wish.networks, wish.security_groups, wish.most)
    if not wish.networks and wish.body.get("networks") == "auto":
        await request.parts.networks.check_auto(request.ctx)
        wish.networks = [NetworkRequest(auto=True)]
    password = wish.body.get("adminPass") or request.parts.world.secret(9)
    reservation = f"r-{request.parts.world.uuid()[:8]}"
    async with request.parts.turns.of(request.ctx.project_id), request.parts.database.transaction() as conn:
        prepared = await _prepare(request, conn, wish)
        if wish.key is not None and (earlier := (await instances.by_ids(conn, ids[:1])).get(ids[0])):
            return _answer_again(request, wish, earlier)
        if root is not None:
            check_root(root, prepared.flavor)
        elif image is not None:
            check_fit(request, prepared.flavor, image)
        server_topology.check(request, prepared.flavor, _properties(image, root))
        limits, own = checked_limits(request, prepared, wish.body)
        shared = _columns(request, wish, image, root, prepared, reservation)
        made = await instances.insert(conn, shared, ids, names, hostnames, counted(limits), counted(own), wish.least)
        if not made.made:
            raise over_quota(prepared.flavor, (wish.least, wish.most), limits, own, made)
        ids = ids[: len(made.made)]
        await _join_group(request, conn, wish, limits, ids)
        given = {"placement": wish.hosts} if wish.hosts else {}
        workflows = await request.parts.starter.begin_many(conn, request.ctx, "create", ids, **given)
    request.parts.starter.go(workflows)
    return _answer(request, wish, ids[0], shared, password, reservation)


async def _earlier(request: Request, server_id: str) -> Instance | None:
    """The server that the same key made before, even if it is deleted by now."""
    async with request.parts.database.connection() as conn:
        return (await instances.by_ids(conn, [server_id])).get(server_id)


def _read(request: Request) -> Wish:
    """The body as a wish; everything that can be refused without a look elsewhere is refused."""
    body = request.body["server"]
    zone, forced = _zone(body.get("availability_zone"))
    if forced:
        request.require(policy.CREATE_FORCED_HOST)
    requested = {name: body[key] for key, name in (("host", "requested_host"), ("hypervisor_hostname", "requested_node")) if body.get(key)}
    if requested:
        request.require(policy.CREATE_DESTINATION)
        if forced:
            raise Invalid(
                "One mechanism with host and/or hypervisor_hostname and another mechanism with zone:host:node are mutually exclusive."
            )
    if body.get("trusted_image_certificates"):
        request.require(policy.CREATE_TRUSTED_CERTS)
    least, most = _counts(body)
    if most > 1 and body.get("hostname"):
        raise Invalid("Unable to allocate a single hostname to multiple instances")
    networks = _networks(request, body.get("networks"), most)
    if body.get("block_device_mapping") or body.get("block_device_mapping_v2"):
        request.require(policy.CREATE_ATTACH_VOLUME)
    return Wish(
        name=body["name"].strip(),
        flavorid=str(body["flavorRef"]).rpartition("/")[2],
        image_id=body.get("imageRef") or "",
        least=least,
        most=most,
        zone=zone,
        hosts=forced | requested,
        networks=networks,
        security_groups=list(dict.fromkeys(g["name"] for g in body.get("security_groups") or () if g.get("name"))),
        body=body,
        hints=checked(request.body.get("os:scheduler_hints") or request.body.get("OS-SCH-HNT:scheduler_hints") or {}),
        key=_key(request),
    )


def _key(request: Request) -> str | None:
    key = request.asked_headers.get("Idempotency-Key")
    if key is not None and not (1 <= len(key) <= 255 and key.isascii() and key.isprintable()):
        raise Invalid("Idempotency-Key must be 1 to 255 printable ASCII characters.")
    return key


def _zone(text: str | None) -> tuple[str | None, dict[str, str]]:
    """``zone``, ``zone:host``, ``zone:host:node`` or ``zone::node``."""
    if text is None or ":" not in text:
        return text, {}
    parts = text.split(":")
    if len(parts) > 3:
        raise Invalid("Invalid input received: Unable to parse availability_zone")
    forced = {key: part for key, part in zip(("forced_host", "forced_node"), parts[1:], strict=False) if part}
    return parts[0] or None, forced


def _counts(body: dict[str, Any]) -> tuple[int, int]:
    least = int(body.get("min_count", 1))
    most = int(body.get("max_count", least))
    if least > most:
        raise Invalid("min_count must be <= max_count")
    if most > MOST_AT_ONCE:
        raise Invalid(f"At most {MOST_AT_ONCE} servers can be made by one request; max_count is {most}.")
    return least, most


def _networks(request: Request, asked: Any, count: int) -> list[NetworkRequest] | None:
    """None where the choice is the network service's."""
    if asked is None or asked == "auto":
        return None
    if asked == "none":
        return []
    networks = [_network(one) for one in asked]
    ports = [n.port_id for n in networks if n.port_id]
    for port in ports:
        if ports.count(port) > 1:
            raise Invalid(f"Port ID '{port}' was specified twice: you cannot attach a port multiple times.")
    if count > 1 and ports:
        raise Invalid(
            "Unable to launch multiple instances with a single configured port ID. Please launch your instance one by one with different "
            "ports."
        )
    if count > 1 and any(n.fixed_ip for n in networks):
        raise Invalid("Failed to launch instances: max_count cannot be greater than 1 if an fixed_ip is specified.")
    if networks:
        request.require(policy.CREATE_ATTACH_NETWORK)
    return networks or None


def _network(asked: dict[str, Any]) -> NetworkRequest:
    address, port, network = asked.get("fixed_ip"), asked.get("port"), asked.get("uuid")
    if port:
        if address is not None:
            raise Invalid(f"Specified Fixed IP '{address}' cannot be used with port '{port}': the two cannot be specified together.")
        return NetworkRequest(port_id=port, tag=asked.get("tag"))
    if network is None:
        raise Invalid("Bad network format: missing 'uuid'")
    if not UUID.fullmatch(network):
        raise Invalid(f"Bad networks format: network uuid is not in proper format ({network[:255]})")
    return NetworkRequest(network_id=network, fixed_ip=address, tag=asked.get("tag"))


UUID = re.compile(r"[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}")


async def _image(request: Request, wish: Wish) -> Image | None:
    """The image to boot from, ready to be used; None where block devices say what is booted from. Raises ``Invalid`` in Nova's words."""
    if not wish.image_id:
        if wish.body.get("block_device_mapping") or wish.body.get("block_device_mapping_v2"):
            return None
        raise Invalid("Missing imageRef attribute")
    return await bootable(request, wish.image_id)


async def _prepare(request: Request, conn: Any, wish: Wish) -> Prepared:
    """Flavor, key pair, limits, zone and hosts, with the project's lock. Raises ``Invalid``."""
    key_name = wish.body.get("key_name")
    prepared = await instances.prepare(
        conn,
        flavorid=wish.flavorid,
        project_id=request.ctx.project_id,
        private_flavors=request.is_admin,
        user_id=request.ctx.user_id,
        key_name=key_name,
        zone=wish.zone,
        hosts=sorted(wish.hosts.values()),
        configured=counted(quota.merged(request.parts.config.quota, {})),
        alone=wish.key is not None,
    )
    if prepared is None:
        raise Invalid(f"Flavor {wish.flavorid[:255]} could not be found.")
    if key_name is not None and prepared.key is None:
        raise Invalid("Invalid key_name provided.")
    if not prepared.zone_known:
        raise Invalid("The requested availability zone is not available")
    if prepared.unknown_hosts:
        raise Invalid(f"Compute host {prepared.unknown_hosts[0]} could not be found.")
    return prepared


async def _join_group(request: Request, conn: Any, wish: Wish, limits: dict[str, int], servers: list[str]) -> None:
    """Enter the servers in the group that the hints name. Raises ``Invalid``, ``QuotaExceeded``."""
    group = group_of(wish.hints)
    if group is None:
        return
    owner = await server_groups.hold(conn, group)
    if owner is None or (owner != request.ctx.project_id and not request.is_admin):
        raise Invalid(f"Instance group {group} could not be found.")
    members, limit = await server_groups.join(conn, group, request.ctx.user_id, servers), limits["server_group_members"]
    if request.parts.outbox.enabled:
        await request.tell(conn, await server_groups.get(conn, group), "server_group.add_member")
    if limit != quota.UNLIMITED and members > limit:
        raise QuotaExceeded("Quota exceeded, too many servers in group")


def _columns(request: Request, wish: Wish, image: Image | None, root: Root | None, prepared: Prepared, reservation: str) -> dict[str, Any]:
    """What the servers of one request share. One that boots from a volume has no image."""
    body, flavor, properties = wish.body, prepared.flavor, _properties(image, root)
    check_sizes(wish.devices, flavor)
    name_devices(wish.devices, properties, flavor)
    disk_config, present = body.get("OS-DCF:diskConfig"), renamed(properties)
    return {
        "project_id": request.ctx.project_id,
        "user_id": request.ctx.user_id,
        "reservation_id": reservation,
        "display_description": body.get("description") if request.has(V.DESCRIPTION) else wish.name,
        "availability_zone": wish.zone,
        "pinned_zone": wish.zone,
        "image_id": image.id if image else None,
        "image_properties": properties,
        "kernel_id": properties.get("kernel_id", ""),
        "ramdisk_id": properties.get("ramdisk_id", ""),
        "flavor": flavor,
        "flavor_id": flavor["id"],
        "vcpus": flavor["vcpus"],
        "memory_mb": flavor["memory_mb"],
        "root_device_name": present.get("img_root_device_name") or f"/dev/{DISK_PREFIX.get(properties.get('hw_disk_bus', ''), 'vd')}a",
        "key_name": prepared.key["name"] if prepared.key else None,
        "key_data": prepared.key,
        "user_data": body.get("user_data"),
        "config_drive": truth(body.get("config_drive", False)) or properties.get("img_config_drive") == "mandatory",
        "auto_disk_config": disk_config == "AUTO" if disk_config else present.get("hw_auto_disk_config", "").lower() == "true",
        "access_ip_v4": address(body.get("accessIPv4")),
        "access_ip_v6": address(body.get("accessIPv6")),
        "metadata": body.get("metadata") or {},
        "system_metadata": ({"image": msgspec.to_builtins(image_ref(image))} | _root_tag(body)) if image else {},
        "tags": list(dict.fromkeys(body.get("tags") or ())),
        "scheduler_hints": wish.hints,
        "network_requests": msgspec.to_builtins(wish.networks or []),
        "security_groups": wish.security_groups or ["default"],
        "block_devices": wish.devices,
        "trusted_certs": wish.trusted,
        "injected_files": [{"path": f.get("path", ""), "contents": f.get("contents", "")} for f in body.get("personality") or ()],
    }


def _root_tag(body: dict[str, Any]) -> dict[str, str]:
    """What the caller calls the disk that the image becomes."""
    own = (device for device in body.get("block_device_mapping_v2") or () if is_images_own(device))
    return {ROOT_TAG: tag} if (tag := next((device.get("tag") for device in own), None)) else {}


def _properties(image: Image | None, root: Root | None) -> dict[str, str]:
    return image.properties if image else root.properties if root else {}


def _names(request: Request, wish: Wish) -> tuple[list[str], list[str], list[str]]:
    """Ids, display names and hostnames; several servers are numbered."""
    ids = [_id(request, wish.key, number) for number in range(wish.most)]
    if wish.most == 1:
        hostname = wish.body.get("hostname") or sanitized(wish.name) or f"Server-{ids[0]}"
        return ids, [wish.name], [hostname]
    names = [f"{wish.name}-{number}" for number in range(1, wish.most + 1)]
    return ids, names, [sanitized(name) or f"Server-{server_id}" for name, server_id in zip(names, ids, strict=True)]


def _id(request: Request, key: str | None, number: int) -> str:
    if key is None:
        return request.parts.world.uuid()
    return str(uuid.uuid5(KEYS, "\n".join((request.ctx.project_id, request.ctx.user_id, key, str(number)))))


def sanitized(name: str) -> str:
    """A display name as a host's name (RFC 1123): at most 63 of letters, digits and dashes."""
    text = re.sub(r"[ _.]", "-", name.encode("latin-1", "ignore").decode("latin-1")[:63])
    return re.sub(r"[^\w.-]+", "", text).lower().strip(".-")


def _answer(request: Request, wish: Wish, server_id: str, shared: dict[str, Any], password: str, reservation: str) -> dict[str, Any]:
    if truth(wish.body.get("return_reservation_id", False)):
        return {"reservation_id": reservation}
    request.headers["Location"] = request.here(f"servers/{server_id}")
    return {
        "uuid": server_id,
        "auto_disk_config": shared["auto_disk_config"],
        "security_groups": wish.body.get("security_groups") or [{"name": "default"}],
        "password": password if request.parts.config.api.enable_admin_password else None,
    }


def _answer_again(request: Request, wish: Wish, server: Instance) -> dict[str, Any]:
    """What was answered the first time; the password is not known any more."""
    shared = {"auto_disk_config": server.auto_disk_config}
    answer = _answer(request, wish, server.uuid, shared, "", server.reservation_id)
    return {**answer, "password": None} if "uuid" in answer else answer
