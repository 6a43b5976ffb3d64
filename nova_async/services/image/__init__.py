"""The image service as the rest of nova_async sees it: built in, or Glance behind the same interface."""

from collections.abc import AsyncIterator
from typing import Any, Protocol

import msgspec

from nova_async.context import Context
from nova_async.errors import Invalid
from nova_async.model.guests import ImageRef
from nova_async.model.image_properties import renamed


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """An image's record. ``properties`` are the free ones (hw_*, os_* ...), all text."""

    id: str
    name: str | None = None
    status: str = "queued"  # queued, saving, active, deactivated, killed, deleted
    visibility: str = "shared"  # public, private, shared, community
    owner: str = ""
    disk_format: str | None = None
    container_format: str | None = None
    size: int | None = None  # bytes
    virtual_size: int | None = None  # bytes
    checksum: str | None = None  # md5, as Glance still shows it
    os_hash_algo: str | None = "sha512"
    os_hash_value: str | None = None
    min_disk: int = 0  # GiB
    min_ram: int = 0  # MiB
    protected: bool = False
    os_hidden: bool = False
    tags: tuple[str, ...] = ()
    properties: dict[str, str] = msgspec.field(default_factory=dict)
    created_at: str = ""
    updated_at: str = ""


def image_ref(image: Image) -> ImageRef:
    """What a host needs of an image. Raises ``Invalid`` when it cannot be booted from now."""
    if image.status != "active" or not image.disk_format or image.size is None:
        raise Invalid(f"Image {image.id} is {image.status}; a server needs an active one.")
    return ImageRef(
        id=image.id,
        disk_format=image.disk_format,
        size_bytes=image.size,
        sha512=image.os_hash_value or "",
        min_disk_gib=image.min_disk,
        virtual_size_bytes=image.virtual_size or image.size,
        properties=renamed(image.properties),
    )


class ImageService(Protocol):
    async def get(self, ctx: Context, image_id: str) -> Image:
        """Raises ``NotFound`` when there is none that the caller may see, ``Unavailable``."""
        ...

    def download(self, ctx: Context, image_id: str, *, start: int = 0) -> AsyncIterator[bytes]:
        """The bytes of an active image from ``start`` on, in chunks of at most 1 MiB."""
        ...

    async def create(self, ctx: Context, name: str, *, disk_format: str, properties: dict[str, str], **fields: Any) -> Image:
        """A queued image (snapshots)."""
        ...

    async def upload(self, ctx: Context, image_id: str, data: AsyncIterator[bytes]) -> Image:
        """Fill a queued image; every byte is inspected. Raises ``Invalid`` when the data lie about their format."""
        ...

    async def delete(self, ctx: Context, image_id: str) -> None: ...

    async def owned(self, ctx: Context, project_id: str, properties: dict[str, str]) -> list[Image]:
        """At most 1000 images of a project that have all these properties, newest first."""
        ...

    async def find(self, ctx: Context, query: dict[str, str]) -> list[Image]:
        """A page of the images that the caller may list, newest first; ``query`` is one of Glance v2. Raises ``Invalid``."""
        ...

    async def set_properties(self, ctx: Context, image_id: str, properties: dict[str, str]) -> Image:
        """Let an image have these free properties and no others. Raises ``NotFound``, ``Forbidden``, ``Invalid``."""
        ...
