"""What a server looks like, from 2.1 to the newest."""

from datetime import datetime
from functools import lru_cache
from hashlib import sha224
from typing import Any

from nova_async.api.render import Field, Fields, Many, Omitted, One, Plain, View, microseconds, seconds
from nova_async.api.request import Request
from nova_async.api.schema import first, since, until
from nova_async.api.shapes import (
    ADDRESS,
    BOOLEAN,
    INTEGER,
    ITEMS,
    LINKS,
    MAYBE_TEXT,
    MICROSECONDS,
    SECONDS,
    STRINGS,
    TEXT,
    UUID,
    Shape,
    array,
    closed,
    mapping,
    nullable,
    one_of,
)
from nova_async.api.versions import V
from nova_async.model.instances import Instance
from nova_async.model.states import BUILDING, status
from nova_async.policy import servers as policy

SHOW_PROGRESS = frozenset({"ACTIVE", "BUILD", "REBUILD", "RESIZE", "VERIFY_RESIZE", "MIGRATING"})
SHOW_FAULT = frozenset({"ERROR", "DELETED"})
IMAGE_PROPERTIES = ("hw_", "os_", "img_", "traits_", "vmware_", "xenapi_")
MORE_IMAGE_PROPERTIES = frozenset({"architecture", "auto_disk_config", "hypervisor_type", "vm_mode", "mappings", "block_device_mapping"})


def _links(server: Instance, request: Request) -> Any:
    return request.links("servers", server.uuid)


def _status(server: Instance, request: Request) -> str:
    return status(server.vm_state, server.task_state)


def _progress(server: Instance, request: Request) -> Any:
    return server.progress if status(server.vm_state, server.task_state) in SHOW_PROGRESS else Omitted


def _fault(server: Instance, request: Request) -> Any:
    if not server.fault or status(server.vm_state, server.task_state) not in SHOW_FAULT:
        return Omitted
    created = seconds(datetime.fromisoformat(server.fault["created"]))
    shown = {"code": server.fault.get("code"), "created": created, "message": server.fault.get("message")}
    if request.is_admin and server.fault.get("details"):
        shown["details"] = server.fault["details"]
    elif server.fault.get("code") != 500:  # as the API reference has it, but no names of hosts
        shown["details"] = shown["message"]
    return shown


@lru_cache(maxsize=4096)
def host_id(project_id: str, host: str) -> str:
    """The name of a host as one project sees it: two projects cannot compare theirs."""
    return sha224(f"{project_id}{host}".encode()).hexdigest()


def _host_id(server: Instance, request: Request) -> str:
    return host_id(server.project_id, server.host) if server.host else ""


def _image(server: Instance, request: Request) -> Any:
    if server.image_id is None:
        return ""
    shown: dict[str, Any] = {
        "id": server.image_id,
        "links": [{"rel": "bookmark", "href": request.bookmark(f"images/{server.image_id}")}],
    }
    if request.has(V.IMAGE_PROPERTIES):
        shown["properties"] = {
            key: value
            for key, value in server.image_properties.items()
            if value is not None and (key.startswith(IMAGE_PROPERTIES) or key in MORE_IMAGE_PROPERTIES)
        }
    return shown


def _flavor_link(server: Instance, request: Request) -> Any:
    flavorid = server.flavor["flavorid"]
    return {"id": flavorid, "links": [{"rel": "bookmark", "href": request.bookmark(f"flavors/{flavorid}")}]}


def _flavor(server: Instance, request: Request) -> Any:
    flavor = server.flavor
    shown = {
        "vcpus": flavor["vcpus"],
        "ram": flavor["memory_mb"],
        "disk": flavor["root_gb"],
        "ephemeral": flavor["ephemeral_gb"],
        "swap": flavor["swap"],
        "original_name": flavor["name"],
    }
    if request.may(policy.SHOW_EXTRA_SPECS, project_id=server.project_id):
        shown["extra_specs"] = flavor.get("extra_specs") or {}
    return shown


def addresses(server: Instance, *, extended: bool = True) -> dict[str, list[dict[str, Any]]]:
    """Network label to addresses; ``extended`` adds kind and MAC. Empty while the server is being built."""
    shown: dict[str, list[dict[str, Any]]] = {}
    if server.vm_state == BUILDING:
        return shown
    for port in server.ports:
        label = shown.setdefault(port.get("network_label") or port["network_id"], [])
        for ip in port.get("fixed_ips", ()):
            for kind, text in (("fixed", ip["address"]), *(("floating", outer) for outer in ip.get("floating", ()))):
                address = {"version": ip.get("version", 4), "addr": text}
                if extended:
                    address |= {"OS-EXT-IPS:type": kind, "OS-EXT-IPS-MAC:mac_addr": port["mac"]}
                label.append(address)
    return shown


def _addresses(server: Instance, request: Request) -> Any:
    return addresses(server)


def _plain_addresses(server: Instance, request: Request) -> Any:
    return addresses(server, extended=request.has(V.STRICT_QUERIES))


def _security_groups(server: Instance, request: Request) -> Any:
    return [{"name": name} for name in server.groups_on_ports] or Omitted


def _volumes(server: Instance, request: Request) -> Any:
    return [
        {"id": device["volume_id"], "delete_on_termination": bool(device.get("delete_on_termination"))}
        if request.has(V.EXTENDED_SERVER_ATTRIBUTES)
        else {"id": device["volume_id"]}
        for device in server.block_devices
        if device.get("volume_id")
    ]


def _host_status(server: Instance, request: Request) -> Any:
    """DOWN where an operator said so, MAINTENANCE where the host is disabled, UNKNOWN where it is silent; empty without a host."""
    if not server.host:
        shown = ""
    elif server.host_forced_down:
        shown = "DOWN"
    elif server.host_disabled:
        shown = "MAINTENANCE"
    else:
        shown = "UP" if request.parts.hosts.is_heard(server.host) else "UNKNOWN"
    return shown if shown == "UNKNOWN" or request.may(policy.SHOW_HOST_STATUS) else Omitted


def _hints(server: Instance, request: Request) -> Any:
    """Lists, as Nova keeps them, but for the group: there is one, and of the two forms in Nova's schema Tempest knows its bare id."""
    return {key: value if isinstance(value, list) or key == "group" else [value] for key, value in server.scheduler_hints.items()}


def _sees_attributes(request: Request) -> bool:
    return request.may(policy.EXTENDED_ATTRIBUTES)


def _sees_hostname(request: Request) -> bool:
    return request.has(V.HOSTNAME) or _sees_attributes(request)


def _sees_host_status(request: Request) -> bool:
    return request.may(policy.SHOW_HOST_STATUS) or request.may(policy.SHOW_UNKNOWN_HOST_STATUS)


IMAGE = {  # empty for a server without one
    "type": ["object", "string"],
    "maxLength": 0,
    **{
        key: part
        for key, part in closed({"id": UUID, "links": LINKS, "properties": since(V.IMAGE_PROPERTIES, ITEMS)}).items()
        if key != "type"
    },
}
FLAVOR = closed(
    {
        **dict.fromkeys(("vcpus", "ram", "disk", "ephemeral", "swap"), INTEGER),
        "original_name": TEXT,
        "extra_specs": ITEMS,
    },
    ("extra_specs",),
)
FAULT = closed({"code": INTEGER, "created": SECONDS, "message": TEXT, "details": TEXT}, ("details",))
ADDRESS_OF_PORT = closed(
    {"version": INTEGER, "addr": ADDRESS, "OS-EXT-IPS:type": one_of("fixed", "floating"), "OS-EXT-IPS-MAC:mac_addr": TEXT}
)
PLAIN_ADDRESS = closed({"version": INTEGER, "addr": ADDRESS})
VOLUME = closed({"id": TEXT, "delete_on_termination": since(V.EXTENDED_SERVER_ATTRIBUTES, BOOLEAN)})
GROUP = closed({"name": TEXT})

BRIEF = (Field("id", "uuid", type=UUID), Field("name", "display_name", type=TEXT), Field("links", _links, type=LINKS))

# Shown by show, detail, and in every version by update.
CORE = (
    *BRIEF,
    Field("status", _status, type=TEXT),
    Field("tenant_id", "project_id", type=TEXT),
    Field("user_id", "user_id", type=TEXT),
    Field("metadata", "metadata", type=ITEMS),
    Field("hostId", _host_id, type=TEXT),
    Field("image", _image, type=IMAGE),
    Field("flavor", _flavor_link, until=V.EMBEDDED_FLAVOR - 1, type=closed({"id": TEXT, "links": LINKS})),
    Field("flavor", _flavor, since=V.EMBEDDED_FLAVOR, type=FLAVOR),
    Field("created", lambda s, _: seconds(s.created_at), type=SECONDS),
    Field("updated", lambda s, _: seconds(s.updated_at or s.created_at), type=SECONDS),
    Field("accessIPv4", lambda s, _: s.access_ip_v4 or "", type=TEXT),
    Field("accessIPv6", lambda s, _: s.access_ip_v6 or "", type=TEXT),
    Field("OS-DCF:diskConfig", lambda s, _: "AUTO" if s.auto_disk_config else "MANUAL", type=one_of("AUTO", "MANUAL")),
    Field("progress", _progress, optional=True, type=INTEGER),
    Field("fault", _fault, optional=True, type=FAULT),
    Field("locked", lambda s, _: s.locked_by is not None, since=V.LOCKED, type=BOOLEAN),
    Field("description", "display_description", since=V.DESCRIPTION, type=MAYBE_TEXT),
    Field("tags", "tags", since=V.TAGS, type=STRINGS),
    Field("trusted_image_certificates", "trusted_certs", since=V.TRUSTED_CERTIFICATES, type=nullable(STRINGS)),
    Field("locked_reason", "locked_reason", since=V.LOCKED_REASON, type=MAYBE_TEXT),
    Field("scheduler_hints", _hints, since=V.SCHEDULER_HINTS, type=mapping({"type": ["array", "string"]})),
    Field("OS-EXT-SRV-ATTR:hostname", "hostname", since=V.EXTENDED_SERVER_ATTRIBUTES, allowed=_sees_hostname, type=TEXT),
)

# Once extensions; update shows them since 2.75.
EXTENDED = (
    Field("OS-EXT-AZ:availability_zone", lambda s, _: s.availability_zone or "", type=TEXT),
    Field("config_drive", lambda s, _: "True" if s.config_drive else "", type=one_of("True", "")),
    Field("key_name", "key_name", type=MAYBE_TEXT),
    Field("OS-SRV-USG:launched_at", lambda s, _: microseconds(s.launched_at), type=nullable(MICROSECONDS)),
    Field("OS-SRV-USG:terminated_at", lambda s, _: microseconds(s.terminated_at), type=nullable(MICROSECONDS)),
    Field("security_groups", _security_groups, optional=True, type=array(GROUP)),
    Field("OS-EXT-STS:task_state", "task_state", type=MAYBE_TEXT),
    Field("OS-EXT-STS:vm_state", "vm_state", type=TEXT),
    Field("OS-EXT-STS:power_state", "power_state", type=INTEGER),
    Field("os-extended-volumes:volumes_attached", _volumes, type=array(VOLUME)),
    Field("pinned_availability_zone", "pinned_zone", since=V.PINNED_ZONE, type=MAYBE_TEXT),
    Field(
        "host_status",
        _host_status,
        since=V.HOST_STATUS,
        allowed=_sees_host_status,
        optional=True,
        type=one_of("UP", "UNKNOWN", "DOWN", "MAINTENANCE", ""),
    ),
    Field("OS-EXT-SRV-ATTR:host", "host", allowed=_sees_attributes, type=MAYBE_TEXT),
    Field("OS-EXT-SRV-ATTR:hypervisor_hostname", "node", allowed=_sees_attributes, type=MAYBE_TEXT),
    Field("OS-EXT-SRV-ATTR:instance_name", "name", allowed=_sees_attributes, type=TEXT),
    *(
        Field(f"OS-EXT-SRV-ATTR:{name}", name, since=V.EXTENDED_SERVER_ATTRIBUTES, allowed=_sees_attributes, type=kind)
        for name, kind in {
            "kernel_id": TEXT,
            "launch_index": INTEGER,
            "ramdisk_id": TEXT,
            "reservation_id": TEXT,
            "root_device_name": MAYBE_TEXT,
            "user_data": MAYBE_TEXT,
        }.items()
    ),
)
ADDRESSES = Field("addresses", _addresses, type=mapping(array(ADDRESS_OF_PORT)))
PLAIN_ADDRESSES = Field(
    "addresses",
    _plain_addresses,
    type=mapping(array(first(until(V.STRICT_QUERIES - 1, PLAIN_ADDRESS), since(V.STRICT_QUERIES, ADDRESS_OF_PORT)))),
)
GROUPS = Field("server_groups", "server_groups", since=V.SERVER_GROUPS_SHOWN, type=array(UUID))

SHOW = One("server", Fields((*CORE, ADDRESSES, *EXTENDED, GROUPS)))
DETAIL = Many("servers", Fields((*CORE, ADDRESSES, *EXTENDED)), links_since=V.BASE)
LIST = Many("servers", Fields(BRIEF), links_since=V.BASE)
UPDATED = (*CORE, PLAIN_ADDRESSES, *(f._replace(since=max(f.since, V.STRICT_QUERIES)) for f in EXTENDED), GROUPS)
UPDATE = One("server", Fields(UPDATED))


def _created(made: dict[str, Any], request: Request) -> dict[str, Any]:
    """``made``: uuid, auto_disk_config, security_groups, password (None: not shown), or reservation_id alone."""
    if "reservation_id" in made:
        return made
    server: dict[str, Any] = {
        "id": made["uuid"],
        "links": request.links("servers", made["uuid"]),
        "OS-DCF:diskConfig": "AUTO" if made["auto_disk_config"] else "MANUAL",
        "security_groups": made["security_groups"],
    }
    if made["password"] is not None:
        server["adminPass"] = made["password"]
    return {"server": server}


MADE = {"id": UUID, "links": LINKS, "OS-DCF:diskConfig": one_of("AUTO", "MANUAL"), "security_groups": array(GROUP), "adminPass": TEXT}
CREATED = Plain(_created, {"oneOf": [closed({"server": closed(MADE, ("adminPass",))}), closed({"reservation_id": TEXT})]})


class Rebuilt(View):
    """As update shows it, with the new key pair, user data and password (None: not shown)."""

    fields = Fields(
        (
            *(f for f in UPDATED if f.name != "OS-EXT-SRV-ATTR:user_data"),
            Field("key_name", "key_name", since=V.REBUILD_KEY, until=V.STRICT_QUERIES - 1, type=MAYBE_TEXT),
            Field("user_data", "user_data", since=V.NO_PERSONALITY, type=MAYBE_TEXT),
        )
    )

    def render(self, result: Any, request: Request) -> Any:
        return {"server": self.fields.render(result.server, request) | ({} if result.password is None else {"adminPass": result.password})}

    def schema(self, version: int) -> Shape:
        inner = self.fields.schema(version)
        return closed({"server": {**inner, "properties": inner["properties"] | {"adminPass": TEXT}}})


REBUILT = Rebuilt()
