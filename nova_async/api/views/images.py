"""What images look like through the proxy."""

from typing import Any

from nova_async.api.render import Field, Fields, Many, Omitted, One
from nova_async.api.request import Request
from nova_async.api.schemas import truth
from nova_async.api.shapes import INTEGER, ITEMS, LINKS, MAYBE_TEXT, SECONDS, TEXT, UUID, closed, nullable, one_of
from nova_async.api.versions import V
from nova_async.services.image import Image

STATUSES = {
    "active": "ACTIVE",
    "queued": "SAVING",
    "saving": "SAVING",
    "deleted": "DELETED",
    "pending_delete": "DELETED",
    "killed": "ERROR",
}
PROGRESS = {"queued": 25, "saving": 50, "active": 100}


def _links(image: Image, request: Request) -> list[dict[str, str]]:
    """The last one leads to the image service itself."""
    service = request.parts.config.image.url.rstrip("/") or f"{request.root.removesuffix('/compute')}/image"
    alternate = {"rel": "alternate", "type": "application/vnd.openstack.image", "href": f"{service}/images/{image.id}"}
    return [*request.links("images", image.id), alternate]


def _server(image: Image, request: Request) -> Any:
    server = image.properties.get("instance_uuid")
    return {"id": server, "links": request.links("servers", server)} if server is not None else Omitted


def _disk_config(image: Image, _: Request) -> Any:
    value = image.properties.get("auto_disk_config")
    return Omitted if value is None else "AUTO" if truth(value) else "MANUAL"


BASIC = (Field("id", "id", type=UUID), Field("name", "name", type=MAYBE_TEXT), Field("links", _links, type=LINKS))
FIELDS = Fields(
    (
        *BASIC,
        Field("minRam", "min_ram", type=INTEGER),
        Field("minDisk", "min_disk", type=INTEGER),
        Field("metadata", "properties", type=ITEMS),
        Field("created", "created_at", type=SECONDS),
        Field("updated", "updated_at", type=SECONDS),
        Field("status", lambda image, _: STATUSES.get(image.status, "UNKNOWN"), type=one_of(*sorted(set(STATUSES.values())), "UNKNOWN")),
        Field("progress", lambda image, _: PROGRESS.get(image.status, 0), type=INTEGER),
        Field("OS-EXT-IMG-SIZE:size", "size", type=nullable(INTEGER)),
        Field("server", _server, optional=True, type=closed({"id": TEXT, "links": LINKS})),
        Field("OS-DCF:diskConfig", _disk_config, optional=True, type=one_of("AUTO", "MANUAL")),
    )
)
LIST = Many("images", Fields(BASIC), links_since=V.BASE)
DETAIL = Many("images", FIELDS, links_since=V.BASE)
SHOW = One("image", FIELDS)
