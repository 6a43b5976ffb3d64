"""Who may see and change an image, what its fields may hold, and how much of each there may be. Glance's rules."""

import re
from typing import Any

from nova_async.context import Context
from nova_async.db.images import Editable, ImageRow
from nova_async.errors import Forbidden, Invalid, NotFound, TooLarge
from nova_async.services.image.inspect import ACCEPTED

MAX_IMAGES = 1000  # of one project
MAX_PROPERTIES = 128
MAX_TAGS = 128
MAX_MEMBERS = 128
MAX_TEXT = 255
MAX_VALUE = 65_535
INT32 = 2**31 - 1
UUID = re.compile(r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")
WRITERS = {"admin", "manager", "member", "service"}
VISIBILITIES = ("public", "private", "shared", "community")
AMAZON = ("ami", "aki", "ari")
CONTAINER_FORMATS = ("bare", *AMAZON)
RECORDED = ("id", "status", "size", "virtual_size", "checksum", "os_hash_algo", "os_hash_value", "created_at", "updated_at")
READ_ONLY = frozenset({*RECORDED, "self", "file", "schema", "direct_url", "stores"})
RESERVED = frozenset({"location", "locations", "deleted", "deleted_at", "is_public", "member_status"})
UUID_PROPERTIES = ("kernel_id", "ramdisk_id")
FIELDS = frozenset(Editable.__struct_fields__) - {"properties"}


def no_image(image_id: str) -> NotFound:
    return NotFound(f"No image found with ID {image_id[:64]}")


def may_see(ctx: Context, row: ImageRow) -> bool:
    """Parts of the cloud boot from the images of all projects."""
    return (
        ctx.is_service
        or row.visibility in ("public", "community")
        or (bool(row.owner) and row.owner == ctx.project_id)
        or (row.visibility == "shared" and row.member_status is not None)
    )


def check_writer(ctx: Context) -> None:
    if not WRITERS & {role.lower() for role in ctx.roles}:
        raise Forbidden("You are not authorized to complete this action: it needs the role member.")
    if not ctx.project_id and not ctx.is_admin:
        raise Forbidden("You are not authorized to complete this action: it needs a token of a project.")


def check_change(ctx: Context, row: ImageRow, what: str) -> None:
    """Only the owner, or an administrator, changes an image."""
    check_writer(ctx)
    if not ctx.is_admin and row.owner != ctx.project_id:
        raise Forbidden(f"You are not permitted to {what} this image.")


def check_upload(ctx: Context, row: ImageRow) -> None:
    """As for any change; and parts of the cloud fill the images that are made of servers and volumes."""
    if not ctx.is_service:
        check_change(ctx, row, "upload data to")


def check_fields(ctx: Context, fields: Editable, before: Editable | None = None) -> None:
    """Types and bounds of everything a user sets, and what only an administrator may set."""
    _check_text("name", fields.name, MAX_TEXT)
    _check_choice("visibility", fields.visibility, VISIBILITIES)
    _check_choice("disk_format", fields.disk_format, (None, *ACCEPTED))
    _check_choice("container_format", fields.container_format, (None, *CONTAINER_FORMATS))
    _check_formats(fields)
    for name in ("min_disk", "min_ram"):
        value = getattr(fields, name)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= INT32:
            raise Invalid(f"Invalid value for {name}: a whole number from 0 to {INT32} is expected.")
    for name in ("protected", "os_hidden"):
        if not isinstance(getattr(fields, name), bool):
            raise Invalid(f"Invalid value for {name}: true or false is expected.")
    fields.tags = check_tags(fields.tags)
    check_properties(fields.properties)
    fields.properties = {name: value for name, value in fields.properties.items() if value is not None}
    _check_admin_only(ctx, fields, before)


def _check_formats(fields: Editable) -> None:
    formats = {fields.container_format, fields.disk_format}
    if None not in formats and len(formats) == 2 and formats & set(AMAZON):
        raise Invalid("Invalid mix of disk and container formats: with ami, aki or ari both must be the same.")


def _check_admin_only(ctx: Context, fields: Editable, before: Editable | None) -> None:
    if not isinstance(fields.owner, str) or len(fields.owner) > MAX_TEXT or "\0" in fields.owner:
        raise Invalid("Invalid value for owner: the id of a project is expected.")
    if ctx.is_admin:
        return
    if fields.owner != (before.owner if before else ctx.project_id):
        raise Forbidden("You are not permitted to set the owner of this image.")
    if fields.visibility == "public" and (before is None or before.visibility != "public"):
        raise Forbidden("You are not authorized to make an image public.")


def check_tags(tags: Any) -> list[str]:
    """The tags in order, each once."""
    if not isinstance(tags, list | tuple) or not all(isinstance(tag, str) and tag for tag in tags):
        raise Invalid("Invalid value for tags: a list of text is expected.")
    for tag in tags:
        _check_text("tags", tag, MAX_TEXT)
    unique = list(dict.fromkeys(tags))
    if len(unique) > MAX_TAGS:
        raise TooLarge(f"The limit of {MAX_TAGS} image tags has been exceeded.")
    return unique


def check_properties(properties: dict[str, Any]) -> None:
    if len(properties) > MAX_PROPERTIES:
        raise TooLarge(f"The limit of {MAX_PROPERTIES} image properties has been exceeded.")
    for name, value in properties.items():
        check_property_name(name)
        if not isinstance(value, str) and not (value is None and name in UUID_PROPERTIES):
            raise Invalid(f"Invalid value for property {name}: text is expected.")
        _check_text(name, value, MAX_VALUE)
        if name in UUID_PROPERTIES and value is not None and not UUID.fullmatch(value):
            raise Invalid(f"Invalid value for property {name}: the id of an image is expected.")


def check_property_name(name: str) -> None:
    if name in READ_ONLY:
        raise Forbidden(f"Attribute '{name}' is read-only.")
    if name in RESERVED or name.startswith("os_glance_"):
        raise Forbidden(f"Attribute '{name[:MAX_TEXT]}' is reserved.")
    if not name:
        raise Invalid("A property must have a name.")
    _check_text("property name", name, MAX_TEXT)


def _check_text(name: str, value: Any, limit: int) -> None:
    if value is None:
        return
    if not isinstance(value, str) or len(value) > limit or "\0" in value:
        raise Invalid(f"Invalid value for {name[:MAX_TEXT]!r}: text of at most {limit} characters without NUL is expected.")


def _check_choice(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    if not (value is None or isinstance(value, str)) or value not in choices:
        raise Invalid(f"Invalid value for {name}: expected one of {', '.join(str(c) for c in choices if c)}.")
