"""Bodies and queries of servers."""

from typing import Any

from nova_async.api.schema import Query, Schema, first, integer, since, until
from nova_async.api.schemas import BOOLEAN, DESCRIPTION, LIMIT, METADATA, NAME, POSITIVE, TEXT, UUID, body
from nova_async.api.versions import V

Literal = dict[str, Any]

IP: Literal = {"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]}
IPV4: Literal = {"type": "string", "format": "ipv4"}
IPV6: Literal = {"type": "string", "format": "ipv6"}
DISK_CONFIG: Literal = {"type": "string", "enum": ["AUTO", "MANUAL"]}
TAG: Literal = {"type": "string", "minLength": 1, "maxLength": 60, "pattern": "^[^,/]*$"}
HOSTNAME: Literal = {"type": "string", "minLength": 2, "maxLength": 63, "pattern": "^[a-zA-Z0-9]+[a-zA-Z0-9-]*[a-zA-Z0-9]+$"}
FQDN: Literal = {"type": "string", "minLength": 2, "maxLength": 255, "pattern": r"^[a-zA-Z0-9]+[a-zA-Z0-9.-]*[a-zA-Z0-9]+$"}
HOST: Literal = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[a-zA-Z0-9-._]*$"}
TRUSTED_CERTIFICATES: Literal = {
    "type": ["array", "null"],
    "minItems": 1,
    "maxItems": 50,
    "uniqueItems": True,
    "items": {"type": "string", "minLength": 1, "maxLength": 255},
}
USER_DATA: Literal = {"type": "string", "format": "base64", "maxLength": 65_535}
ONE_OR_MORE_UUIDS: Literal = {"anyOf": [UUID, {"type": "array", "items": UUID, "maxItems": 1000}]}

HINTS: Literal = {
    "type": "object",
    "maxProperties": 100,
    "properties": {
        "group": ONE_OR_MORE_UUIDS,
        "different_host": ONE_OR_MORE_UUIDS,
        "same_host": ONE_OR_MORE_UUIDS,
        "query": {"type": ["string", "array", "object"]},
        "target_cell": NAME,
        "different_cell": {"type": ["string", "array"], "items": TEXT},
        "build_near_host_ip": IP,
        "cidr": {"type": "string", "pattern": "^/[0-9a-f.:]+$"},
    },
}
DEVICE: Literal = {
    "virtual_name": {"type": "string", "maxLength": 255},
    "volume_id": UUID,
    "snapshot_id": UUID,
    "volume_size": integer(1),
    "device_name": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[a-zA-Z0-9._/-]*$"},
    "delete_on_termination": BOOLEAN,
    "no_device": {},
    "connection_info": {"type": "string", "maxLength": 16_777_215},
}
DEVICE_V2: Literal = DEVICE | {
    "source_type": {"type": "string", "enum": ["volume", "image", "snapshot", "blank"]},
    "uuid": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[a-zA-Z0-9._-]*$"},
    "image_id": UUID,
    "destination_type": {"type": "string", "enum": ["local", "volume"]},
    "guest_format": {"type": "string", "maxLength": 255},
    "device_type": {"type": "string", "maxLength": 255},
    "disk_bus": {"type": "string", "maxLength": 255},
    "boot_index": {"type": ["integer", "string", "null"], "pattern": "^-?[0-9]{1,10}$", "minimum": -(2**31), "maximum": 2**31 - 1},
    "tag": first(since(V.DEVICE_TAGS, TAG, until=V.DEVICE_TAGS), since(V.DEVICE_TAGS_AGAIN, TAG)),
    "volume_type": since(V.VOLUME_TYPE, {"type": ["string", "null"], "maxLength": 255}),
}
PORT: Literal = {"type": ["string", "null"], "format": "uuid"}


def _networks(network: Literal, tag: Any = None) -> Literal:
    properties = {"fixed_ip": IP, "port": PORT, "uuid": network} | ({} if tag is None else {"tag": tag})
    return {"type": "array", "maxItems": 100, "items": {"type": "object", "properties": properties, "additionalProperties": False}}


def _words_or(networks: Literal) -> Literal:
    return {"oneOf": [networks, {"type": "string", "enum": ["none", "auto"]}]}


CREATE = Schema(
    body(
        "server",
        {
            "type": "object",
            "properties": {
                "name": NAME,
                "imageRef": {"oneOf": [UUID, {"type": "string", "maxLength": 0}]},
                "flavorRef": {"type": ["string", "integer"], "minLength": 1, "maxLength": 255},
                "adminPass": TEXT,
                "metadata": METADATA,
                "networks": first(
                    until(V.DEVICE_TAGS - 1, _networks(TEXT)),
                    until(V.NETWORKS_MANDATORY - 1, _networks(TEXT, TAG)),
                    until(V.DEVICE_TAGS_AGAIN - 1, _words_or(_networks(UUID))),
                    since(V.DEVICE_TAGS_AGAIN, _words_or(_networks(UUID, TAG))),
                ),
                "OS-DCF:diskConfig": DISK_CONFIG,
                "accessIPv4": IPV4,
                "accessIPv6": IPV6,
                "personality": until(
                    V.NO_PERSONALITY - 1,
                    {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "properties": {"path": TEXT, "contents": {"type": "string", "format": "base64"}},
                            "additionalProperties": False,
                        },
                    },
                ),
                "availability_zone": NAME,
                "block_device_mapping": {
                    "type": "array",
                    "maxItems": 255,
                    "items": {"type": "object", "properties": DEVICE, "additionalProperties": False},
                },
                "block_device_mapping_v2": {
                    "type": "array",
                    "maxItems": 255,
                    "items": {"type": "object", "properties": DEVICE_V2, "additionalProperties": False},
                },
                "config_drive": BOOLEAN,
                "key_name": NAME,
                "min_count": POSITIVE,
                "max_count": POSITIVE,
                "return_reservation_id": BOOLEAN,
                "security_groups": {
                    "type": "array",
                    "maxItems": 100,
                    "items": {"type": "object", "properties": {"name": NAME}, "additionalProperties": False},
                },
                "user_data": USER_DATA,
                "description": since(V.DESCRIPTION, DESCRIPTION),
                "tags": since(V.CREATE_TAGS, {"type": "array", "items": TAG, "maxItems": 50}),
                "trusted_image_certificates": since(V.TRUSTED_CERTIFICATES, TRUSTED_CERTIFICATES),
                "host": since(V.REQUESTED_DESTINATION, HOST),
                "hypervisor_hostname": since(V.REQUESTED_DESTINATION, HOST),
                "hostname": first(since(V.HOSTNAME, HOSTNAME, until=V.FQDN_HOSTNAME - 1), since(V.FQDN_HOSTNAME, FQDN)),
            },
            "required": ["name", "flavorRef", since(V.NETWORKS_MANDATORY, "networks")],
            "additionalProperties": False,
        },
        **{"os:scheduler_hints": HINTS, "OS-SCH-HNT:scheduler_hints": HINTS},
    )
)

UPDATE = Schema(
    body(
        "server",
        {
            "type": "object",
            "properties": {
                "name": NAME,
                "OS-DCF:diskConfig": DISK_CONFIG,
                "accessIPv4": IPV4,
                "accessIPv6": IPV6,
                "description": since(V.DESCRIPTION, DESCRIPTION),
                "hostname": first(since(V.HOSTNAME, HOSTNAME, until=V.FQDN_HOSTNAME - 1), since(V.FQDN_HOSTNAME, FQDN)),
                "pinned_availability_zone": since(V.UPDATE_PINNED_ZONE, {"type": ["string", "null"], "minLength": 1, "maxLength": 255}),
            },
            "additionalProperties": False,
        },
    )
)

SORT_KEYS = [
    *("access_ip_v4", "access_ip_v6", "auto_disk_config", "availability_zone", "config_drive", "created_at", "display_description"),
    *("display_name", "host", "hostname", "image_ref", "instance_type_id", "kernel_id", "key_name", "launch_index", "launched_at"),
    *("locked_by", "node", "power_state", "progress", "project_id", "ramdisk_id", "root_device_name", "task_state", "terminated_at"),
    *("updated_at", "user_id", "uuid", "vm_state"),
]
IGNORED_SORT_KEYS = [  # columns of Nova's table that were once accepted; they sort nothing
    *("architecture", "cell_name", "cleaned", "default_ephemeral_device", "default_swap_device", "deleted", "deleted_at"),
    *("disable_terminate", "ephemeral_gb", "ephemeral_key_uuid", "id", "key_data", "launched_on", "memory_mb", "os_type"),
    *("reservation_id", "root_gb", "shutdown_terminate", "user_data", "vcpus", "vm_mode"),
]
JOINED = ("block_device_mapping", "services", "metadata", "system_metadata", "info_cache", "security_groups", "pci_devices")
REGEX: Literal = {"type": "string", "format": "regex", "maxLength": 1024}
MOMENT: Literal = {"type": "string", "format": "date-time"}

LIST = Query(
    {
        **dict.fromkeys(
            ("user_id", "project_id", "tenant_id", "launch_index", "image_ref", "image", "vm_state", "task_state", "host", "uuid"), TEXT
        ),
        **dict.fromkeys(("all_tenants", "soft_deleted", "deleted", "status", "sort_dir", "marker", *JOINED), TEXT),
        **dict.fromkeys(
            (
                *("kernel_id", "ramdisk_id", "hostname", "key_name", "power_state", "node", "flavor", "reservation_id", "launched_at"),
                *("terminated_at", "availability_zone", "name", "display_name", "description", "display_description", "locked_by"),
                *("root_device_name", "config_drive", "access_ip_v4", "access_ip_v6", "auto_disk_config", "progress", "ip", "ip6"),
                "created_at",
            ),
            REGEX,
        ),
        "limit": LIMIT,
        "sort_key": first(
            until(V.LOCKED_REASON - 1, {"type": "string", "enum": [*SORT_KEYS, *IGNORED_SORT_KEYS, "locked"]}),
            until(V.STRICT_QUERIES - 1, {"type": "string", "enum": ["locked", *SORT_KEYS, *IGNORED_SORT_KEYS]}),
            since(V.STRICT_QUERIES, {"type": "string", "enum": ["locked", *SORT_KEYS]}),
        ),
        "changes-since": MOMENT,
        "changes-before": since(V.CHANGES_BEFORE, MOMENT),
        "tags": since(V.TAGS, REGEX),
        "tags-any": since(V.TAGS, REGEX),
        "not-tags": since(V.TAGS, REGEX),
        "not-tags-any": since(V.TAGS, REGEX),
        "locked": since(V.LOCKED_REASON, TEXT),
    },
    strict_since=V.STRICT_QUERIES,
    private=True,
)
