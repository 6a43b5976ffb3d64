"""Glance's documents: images, members, versions, schemas."""

from typing import Any

import msgspec

from nova_async.db.images import MemberRow
from nova_async.services.image import Image, rules
from nova_async.services.image.builtin import timestamp
from nova_async.services.image.inspect import ACCEPTED

VERSIONS = ("2.9", "2.7", "2.6", "2.5", "2.4", "2.3", "2.2", "2.1", "2.0")  # newest first
STORE = "file"
METHODS = ["glance-direct"]
TEXT = {"type": ["null", "string"]}
NUMBER = {"type": ["null", "integer"]}


def image(found: Image) -> dict[str, Any]:
    body: dict[str, Any] = msgspec.to_builtins(found)
    properties = body.pop("properties")
    where = f"/v2/images/{found.id}"
    body |= {"self": where, "file": f"{where}/file", "schema": "/v2/schemas/image"}
    if found.status in ("active", "deactivated"):
        body["stores"] = STORE
    return {**properties, **body}


def member(row: MemberRow) -> dict[str, Any]:
    return {
        "image_id": row.image_id,
        "member_id": row.member,
        "status": row.status,
        "created_at": timestamp(row.created_at),
        "updated_at": timestamp(row.updated_at),
        "schema": "/v2/schemas/member",
    }


def versions(base: str) -> dict[str, Any]:
    links = [{"rel": "self", "href": f"{base}/v2/"}]
    return {
        "versions": [
            {"id": f"v{number}", "status": "CURRENT" if number == VERSIONS[0] else "SUPPORTED", "links": links} for number in VERSIONS
        ]
    }


def import_info() -> dict[str, Any]:
    return {"import-methods": {"description": "Import methods available.", "type": "array", "value": METHODS}}


def stores() -> dict[str, Any]:
    return {"stores": [{"id": STORE, "description": "Files of the built-in image service", "default": "true"}]}


def _collection(name: str, item: str) -> dict[str, Any]:
    return {
        "name": name,
        "properties": {
            name: {"type": "array", "items": SCHEMAS[item]},
            "first": {"type": "string"},
            "next": {"type": "string"},
            "schema": {"type": "string"},
        },
        "links": [{"rel": "first", "href": "{first}"}, {"rel": "next", "href": "{next}"}, {"rel": "describedby", "href": "{schema}"}],
    }


SCHEMAS: dict[str, dict[str, Any]] = {
    "image": {
        "name": "image",
        "properties": {
            "id": {"type": "string", "pattern": rules.UUID.pattern, "description": "An identifier for the image"},
            "name": TEXT | {"maxLength": rules.MAX_TEXT},
            "status": {"type": "string", "readOnly": True, "enum": ["queued", "saving", "uploading", "active", "deactivated"]},
            "visibility": {"type": "string", "enum": list(rules.VISIBILITIES)},
            "owner": TEXT | {"maxLength": rules.MAX_TEXT},
            "disk_format": TEXT | {"enum": [None, *ACCEPTED]},
            "container_format": TEXT | {"enum": [None, *rules.CONTAINER_FORMATS]},
            "size": NUMBER | {"readOnly": True},
            "virtual_size": NUMBER | {"readOnly": True},
            "checksum": TEXT | {"readOnly": True, "maxLength": 32},
            "os_hash_algo": TEXT | {"readOnly": True, "maxLength": 64},
            "os_hash_value": TEXT | {"readOnly": True, "maxLength": 128},
            "min_disk": {"type": "integer", "description": "GiB"},
            "min_ram": {"type": "integer", "description": "MiB"},
            "protected": {"type": "boolean"},
            "os_hidden": {"type": "boolean"},
            "tags": {"type": "array", "items": {"type": "string", "maxLength": rules.MAX_TEXT}},
            "created_at": {"type": "string", "readOnly": True},
            "updated_at": {"type": "string", "readOnly": True},
            "self": {"type": "string", "readOnly": True},
            "file": {"type": "string", "readOnly": True},
            "schema": {"type": "string", "readOnly": True},
            "stores": {"type": "string", "readOnly": True, "description": "Where the image's data is"},
            "kernel_id": TEXT | {"pattern": rules.UUID.pattern, "is_base": False},
            "ramdisk_id": TEXT | {"pattern": rules.UUID.pattern, "is_base": False},
        },
        "additionalProperties": {"type": "string"},
        "links": [
            {"rel": "self", "href": "{self}"},
            {"rel": "enclosure", "href": "{file}"},
            {"rel": "describedby", "href": "{schema}"},
        ],
    },
    "member": {
        "name": "member",
        "properties": {
            "member_id": {"type": "string"},
            "image_id": {"type": "string", "pattern": rules.UUID.pattern},
            "status": {"type": "string", "enum": ["pending", "accepted", "rejected"]},
            "created_at": {"type": "string"},
            "updated_at": {"type": "string"},
            "schema": {"readOnly": True, "type": "string"},
        },
    },
}
SCHEMAS |= {"images": _collection("images", "image"), "members": _collection("members", "member")}

# Clients read these before they list namespaces of metadata definitions, of which there are none.
SCHEMAS["metadefs/namespace"] = {
    "name": "namespace",
    "properties": {
        "namespace": {"type": "string", "maxLength": 80},
        "display_name": {"type": "string", "maxLength": 80},
        "description": {"type": "string", "maxLength": 500},
        "visibility": {"type": "string", "enum": ["public", "private"]},
        "protected": {"type": "boolean"},
        "owner": {"type": "string", "maxLength": 255},
        "schema": {"type": "string", "readOnly": True},
        "self": {"type": "string", "readOnly": True},
        "created_at": {"type": "string", "readOnly": True},
        "updated_at": {"type": "string", "readOnly": True},
    },
    "required": ["namespace"],
}
SCHEMAS["metadefs/namespaces"] = _collection("namespaces", "metadefs/namespace")
