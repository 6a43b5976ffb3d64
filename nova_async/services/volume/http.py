"""Cinder v3 over HTTP, mounted at ``/volume``: with the project in the path, and without."""

from typing import Any

from aiohttp import web

from nova_async.config import Config
from nova_async.errors import Forbidden
from nova_async.services.callers import CallersTokens
from nova_async.services.volume import versions
from nova_async.services.volume.builtin import BuiltinVolumes
from nova_async.services.volume.handlers.about import AboutHandlers
from nova_async.services.volume.handlers.attachments import AttachmentHandlers
from nova_async.services.volume.handlers.backends import BackendHandlers
from nova_async.services.volume.handlers.base import VERSION, Call
from nova_async.services.volume.handlers.encryptions import EncryptionHandlers
from nova_async.services.volume.handlers.qos import QosHandlers
from nova_async.services.volume.handlers.snapshots import SnapshotHandlers
from nova_async.services.volume.handlers.transfers import TransferHandlers
from nova_async.services.volume.handlers.types import TypeHandlers
from nova_async.services.volume.handlers.volumes import VolumeHandlers
from nova_async.services.web import Tokens, context_of, edge
from nova_async.world import World

OPEN = "versions"
FAULTS = {
    400: "badRequest",
    401: "unauthorized",
    403: "forbidden",
    404: "itemNotFound",
    405: "badMethod",
    406: "notAcceptable",
    409: "conflictingRequest",
    413: "overLimit",
    415: "badMediaType",
    501: "notImplemented",
    503: "serviceUnavailable",
}


def application(
    service: BuiltinVolumes, tokens: Tokens, world: World, config: Config, callers: CallersTokens | None = None
) -> web.Application:
    """The application; the caller mounts it with ``add_subapp("/volume", ...)``."""
    guard = edge(world, tokens, _fault, lambda request: (request.match_info.route.name or "").startswith(OPEN), callers)
    app = web.Application(middlewares=[guard, _negotiate, _own_project], client_max_size=config.api.max_body_bytes)
    about = AboutHandlers(service, config)
    app.router.add_get("", about.choices, name=OPEN)
    app.router.add_get("/", about.choices, name=OPEN + "-root")
    app.router.add_get("/v3", about.version, name=OPEN + "-three")
    app.router.add_get("/v3/", about.version, name=OPEN + "-slash")
    things = (VolumeHandlers, SnapshotHandlers, AttachmentHandlers, TransferHandlers)
    nouns = (*things, TypeHandlers, EncryptionHandlers, QosHandlers, BackendHandlers)
    routes = [route for noun in nouns for route in noun(service, config).routes()] + about.routes()
    for method, path, call in routes:
        app.router.add_route(method, "/v3" + path, call)
        app.router.add_route(method, "/v3/{project}" + path, call)
    return app


@web.middleware
async def _negotiate(request: web.Request, handler: Call) -> web.StreamResponse:
    """The microversion is asked for and answered in ``OpenStack-API-Version``."""
    request[VERSION] = versions.asked(request.headers.get("OpenStack-API-Version"))
    response = await handler(request)
    response.headers["OpenStack-API-Version"] = f"volume 3.{request[VERSION]}"
    response.headers["Vary"] = "OpenStack-API-Version"
    return response


@web.middleware
async def _own_project(request: web.Request, handler: Call) -> web.StreamResponse:
    """The project in the path is the caller's, unless an administrator asks."""
    project = request.match_info.get("project")
    if project is not None and project != context_of(request).project_id and not context_of(request).is_admin:
        raise Forbidden("The project in the path is not that of the token.")
    return await handler(request)


def _fault(status: int, message: str) -> dict[str, Any]:
    return {FAULTS.get(status, "computeFault"): {"code": status, "message": message}}
