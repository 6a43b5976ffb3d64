"""Images and their members."""

from datetime import datetime
from typing import Any

import msgspec

from nova_async.db.database import Connection
from nova_async.db.query import Query

SORT_KEYS = ("name", "status", "container_format", "disk_format", "size", "id", "created_at", "updated_at")


class ImageRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of ``images`` as one project sees it; ``member_status`` is that project's membership."""

    id: str
    name: str | None
    status: str
    visibility: str
    owner: str
    disk_format: str | None
    container_format: str | None
    size: int | None
    virtual_size: int | None
    checksum: str | None
    os_hash_algo: str | None
    os_hash_value: str | None
    min_disk: int
    min_ram: int
    protected: bool
    os_hidden: bool
    tags: list[str]
    properties: dict[str, str]
    upload_id: str | None
    data_id: str | None
    created_at: datetime
    updated_at: datetime
    member_status: str | None


class MemberRow(msgspec.Struct, frozen=True, kw_only=True):
    image_id: str
    member: str
    status: str
    created_at: datetime
    updated_at: datetime


class Editable(msgspec.Struct, kw_only=True):
    """What users may set; in the order of the parameters of ``insert_image`` and ``update_image``."""

    name: str | None = None
    visibility: str = "shared"
    owner: str = ""
    disk_format: str | None = None
    container_format: str | None = None
    min_disk: int = 0
    min_ram: int = 0
    protected: bool = False
    os_hidden: bool = False
    tags: list[str] = msgspec.field(default_factory=list)
    properties: dict[str, str] = msgspec.field(default_factory=dict)


class Filters(msgspec.Struct, kw_only=True):
    """None where not asked for; in the order of the parameters of ``list_images``. Times: from <= t < until."""

    visibility: str | None = None
    ids: list[str] | None = None
    names: list[str] | None = None
    statuses: list[str] | None = None
    disk_formats: list[str] | None = None
    container_formats: list[str] | None = None
    owner: str | None = None
    protected: bool | None = None
    os_hidden: bool | None = None
    tags: list[str] | None = None
    properties: dict[str, str] | None = None
    size_min: int | None = None
    size_max: int | None = None
    min_disk: int | None = None
    min_ram: int | None = None
    checksum: str | None = None
    os_hash_value: str | None = None
    created_from: datetime | None = None
    created_until: datetime | None = None
    updated_from: datetime | None = None
    updated_until: datetime | None = None


class Data(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of complete bytes; in the order of the parameters of ``finish_upload``."""

    size: int
    virtual_size: int
    md5: str
    sha512: str


_insert = Query[Any]("images", "insert_image")
_lock_owner = Query[bool]("images", "lock_owner")
_count = Query[int]("images", "count_images")
_by_id = Query("images", "image_by_id", ImageRow)
_lock = Query("images", "lock_image", ImageRow)
_public_named = Query[str]("images", "public_image_named")
_list = Query("images", "list_images", ImageRow)
_update = Query[Any]("images", "update_image")
_set_status = Query[Any]("images", "set_status")
_claim = Query[Any]("images", "claim_upload")
_finish = Query[Any]("images", "finish_upload")
_release = Query[Any]("images", "release_upload")
_activate = Query[Any]("images", "activate_staged")
_drop_staged = Query[Any]("images", "drop_staged")
_uploads = Query[str]("images", "uploads_under_way")
_data_ids = Query[str]("images", "data_ids")
_delete = Query[Any]("images", "delete_image")
_insert_member = Query[Any]("images", "insert_member")
_members = Query("images", "members", MemberRow)
_set_member_status = Query[Any]("images", "set_member_status")
_delete_member = Query[Any]("images", "delete_member")


async def insert(conn: Connection, image_id: str, fields: Editable, now: datetime) -> None:
    """Raises ``asyncpg.UniqueViolationError`` (translated outside) when the id is taken."""
    await _insert.run(conn, image_id, *msgspec.structs.astuple(fields), now)


async def lock_owner(conn: Connection, owner: str) -> None:
    await _lock_owner.one(conn, owner)


async def count(conn: Connection, owner: str) -> int:
    return await _count.one(conn, owner)


async def get(conn: Connection, image_id: str, project_id: str) -> ImageRow | None:
    return await _by_id.maybe(conn, image_id, project_id)


async def lock(conn: Connection, image_id: str, project_id: str) -> ImageRow | None:
    return await _lock.maybe(conn, image_id, project_id)


async def public_named(conn: Connection, name: str) -> str | None:
    return await _public_named.maybe(conn, name)


async def page(
    conn: Connection,
    project_id: str,
    is_admin: bool,
    filters: Filters,
    *,
    member_status: str,
    sort: list[tuple[str, str]],
    marker: str | None,
    limit: int,
) -> list[ImageRow]:
    """``sort`` holds pairs of one of ``SORT_KEYS`` and ``asc`` or ``desc``."""
    fragments = [f"{key}_{direction}" for key, direction in sort]
    return await _list.page(conn, fragments, project_id, is_admin, member_status, marker, limit, *msgspec.structs.astuple(filters))


async def update(conn: Connection, image_id: str, fields: Editable, now: datetime) -> None:
    await _update.run(conn, image_id, *msgspec.structs.astuple(fields), now)


async def set_status(conn: Connection, image_id: str, before: str, after: str, now: datetime) -> bool:
    return await _set_status.run(conn, image_id, before, after, now) == 1


async def claim_upload(conn: Connection, image_id: str, upload_id: str, status: str, now: datetime) -> bool:
    return await _claim.run(conn, image_id, upload_id, status, now) == 1


async def finish_upload(conn: Connection, image_id: str, upload_id: str, status: str, data: Data, now: datetime) -> bool:
    """False when the image was deleted, or the claim lost, meanwhile."""
    return await _finish.run(conn, image_id, upload_id, status, *msgspec.structs.astuple(data), now) == 1


async def release_upload(conn: Connection, upload_id: str, now: datetime) -> bool:
    return await _release.run(conn, upload_id, now) == 1


async def activate_staged(conn: Connection, image_id: str, now: datetime) -> bool:
    return await _activate.run(conn, image_id, now) == 1


async def drop_staged(conn: Connection, image_id: str, data_id: str, now: datetime) -> bool:
    return await _drop_staged.run(conn, image_id, data_id, now) == 1


async def uploads_under_way(conn: Connection) -> list[str]:
    return await _uploads.all(conn)


async def data_ids(conn: Connection) -> set[str]:
    return set(await _data_ids.all(conn))


async def delete(conn: Connection, image_id: str) -> None:
    await _delete.run(conn, image_id)


async def insert_member(conn: Connection, image_id: str, member: str, now: datetime) -> None:
    await _insert_member.run(conn, image_id, member, now)


async def members(conn: Connection, image_id: str) -> list[MemberRow]:
    return await _members.all(conn, image_id)


async def set_member_status(conn: Connection, image_id: str, member: str, status: str, now: datetime) -> None:
    await _set_member_status.run(conn, image_id, member, status, now)


async def delete_member(conn: Connection, image_id: str, member: str) -> bool:
    return await _delete_member.run(conn, image_id, member) == 1
