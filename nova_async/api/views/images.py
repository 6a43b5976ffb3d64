"""What images look like through the proxy."""

from typing import Any

from nova_async.api.render import Field, Fields, Many, Omitted, One
from nova_async.api.request import Request
from nova_async.api.schemas import truth
from nova_async.api.versions import V
from nova_async.services.image import Image

TEXT = {"type": "string"}
NUMBER = {"type": "integer"}
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


BASIC = (Field("id", "id", type=TEXT), Field("name", "name", type=TEXT), Field("links", _links, type={"type": "array"}))
FIELDS = Fields(
    (
        *BASIC,
        Field("minRam", "min_ram", type=NUMBER),
        Field("minDisk", "min_disk", type=NUMBER),
        Field("metadata", "properties", type={"type": "object"}),
        Field("created", "created_at", type=TEXT),
        Field("updated", "updated_at", type=TEXT),
        Field("status", lambda image, _: STATUSES.get(image.status, "UNKNOWN"), type=TEXT),
        Field("progress", lambda image, _: PROGRESS.get(image.status, 0), type=NUMBER),
        Field("OS-EXT-IMG-SIZE:size", "size", type=NUMBER),
        Field("server", _server, optional=True, type={"type": "object"}),
        Field("OS-DCF:diskConfig", _disk_config, optional=True, type=TEXT),
    )
)
LIST = Many("images", Fields(BASIC), links_since=V.BASE)
DETAIL = Many("images", FIELDS, links_since=V.BASE)
SHOW = One("image", FIELDS)
