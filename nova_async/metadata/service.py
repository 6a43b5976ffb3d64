"""The metadata service: documents for guests, asked for by a proxy that knows which guest is asking.

The proxy proves its word with ``X-Instance-ID-Signature``, the hex HMAC-SHA256 of the server's id under the
shared secret, as Neutron's does.
"""

import hashlib
import hmac
from typing import Protocol

from aiohttp import web

from nova_async import errors, log
from nova_async.config import Config
from nova_async.metadata import documents
from nova_async.metadata.documents import InstanceMetadata
from nova_async.metadata.dynamic import VendorData
from nova_async.model.tagged_devices import LATEST
from nova_async.services.web import status_of
from nova_async.world import World

HEADERS = ("X-Instance-ID", "X-Tenant-ID", "X-Instance-ID-Signature")
PASSWORD_BYTES = 1020
CACHE_ENTRIES = 1024
logger = log.get("metadata")


class MetadataSource(Protocol):
    async def get(self, instance_id: str, project_id: str) -> InstanceMetadata:
        """The documents' inputs for a live server of this project; raises ``NotFound``."""
        ...

    async def set_password(self, instance_id: str, text: str) -> None:
        """Keep what the guest encrypted for its owner; raises ``Conflict`` when one is kept already."""
        ...


def application(source: MetadataSource, config: Config, world: World, shared_secret: str, vendor_data: VendorData) -> web.Application:
    """The application; the caller mounts it with ``add_subapp("/metadata", ...)``."""
    service = MetadataService(source, config, world, shared_secret, vendor_data)
    app = web.Application(client_max_size=PASSWORD_BYTES + 1)
    app.router.add_route("*", "/{path:.*}", service.handle)
    return app


def signature(shared_secret: str, instance_id: str) -> str:
    """What the proxy says beside the server's id, whose bytes need not be UTF-8."""
    return hmac.new(shared_secret.encode(), instance_id.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()


class MetadataService:
    def __init__(self, source: MetadataSource, config: Config, world: World, shared_secret: str, vendor_data: VendorData) -> None:
        if not shared_secret:
            raise errors.Invalid("The metadata service needs a shared secret.")
        self.source, self.config, self.world, self.secret = source, config, world, shared_secret
        self._vendor_data = vendor_data
        self._cache: dict[tuple[str, str], tuple[float, InstanceMetadata]] = {}  # oldest first

    async def handle(self, request: web.Request) -> web.Response:
        try:
            return await self._answer(request)
        except errors.Error as error:
            return web.Response(status=status_of(error), text=error.message)
        except web.HTTPRequestEntityTooLarge:
            return web.Response(status=400, text="The password is too long.")
        except web.HTTPException as error:
            return web.Response(status=error.status, text=error.reason)
        except web.RequestPayloadError:
            return web.Response(status=400, text=errors.Unreadable.default)
        except Exception as error:
            logger.exception("metadata.crashed", error=errors.plain(error))
            return web.Response(status=500, text="An unknown error has occurred. Please try your request again.")

    async def _answer(self, request: web.Request) -> web.Response:
        instance_id, project_id = self._proved(request)
        words = [word for word in request.match_info["path"].split("/") if word]
        if words[:1] == ["openstack"] and len(words) == 3 and words[2] == "password":
            return await self._password(request, instance_id, project_id, words[1])
        if request.method not in ("GET", "HEAD"):
            raise web.HTTPMethodNotAllowed(request.method, ["GET", "HEAD"])
        metadata = await self._metadata(instance_id, project_id)
        if words[:1] == ["openstack"] and words[2:] == ["vendor_data2.json"]:
            metadata = await self._with_dynamic(metadata)
        path = "/".join(words)
        body = documents.openstack(metadata, path) if words[:1] == ["openstack"] else documents.ec2(metadata, path)
        return web.Response(body=body, content_type="application/json" if path.endswith(".json") else "text/plain", charset="utf-8")

    def _proved(self, request: web.Request) -> tuple[str, str]:
        """Server and project that the proxy vouches for. Raises ``Invalid`` or ``Forbidden``."""
        for name in HEADERS:
            if len(request.headers.getall(name, [])) != 1 or not request.headers[name]:
                raise errors.Invalid(f"{name} header is missing from request.")
        instance_id, project_id, given = (request.headers[name] for name in HEADERS)
        if not hmac.compare_digest(signature(self.secret, instance_id).encode(), given.encode("utf-8", "surrogateescape")):
            logger.warning("metadata.forged", instance=ascii(instance_id[:64]), peer=request.remote)
            raise errors.Forbidden("Invalid proxy request signature.")
        return instance_id, project_id

    async def _metadata(self, instance_id: str, project_id: str) -> InstanceMetadata:
        """From the cache, or fresh; a server that belongs to another project is ``NotFound``."""
        key, now = (instance_id, project_id), self.world.monotonic()
        kept = self._cache.get(key)
        if kept is not None and kept[0] > now:
            return kept[1]
        self._cache.pop(key, None)
        metadata = await self.source.get(instance_id, project_id)
        if (metadata.uuid, metadata.project_id) != key:
            raise errors.NotFound()
        while len(self._cache) >= CACHE_ENTRIES:
            self._cache.pop(next(iter(self._cache)))
        self._cache[key] = (now + self.config.metadata.cache_seconds, metadata)
        return metadata

    async def _with_dynamic(self, metadata: InstanceMetadata) -> InstanceMetadata:
        """With what vendor data services say, which is kept as long as the rest. Raises ``Unavailable``."""
        if metadata.dynamic is not None:
            return metadata
        complete = await self._vendor_data.told(metadata)
        key = (metadata.uuid, metadata.project_id)
        if (kept := self._cache.get(key)) is not None and kept[1] is metadata:
            self._cache[key] = (kept[0], complete)
        return complete

    async def _password(self, request: web.Request, instance_id: str, project_id: str, version: str) -> web.Response:
        """Read what is kept, or keep the first that comes; what another process kept meanwhile counts."""
        if request.method == "POST":
            self._cache.pop((instance_id, project_id), None)
        metadata = await self._metadata(instance_id, project_id)
        if version != LATEST and (version not in documents.OPENSTACK_VERSIONS or version < documents.OPENSTACK_SINCE["password"]):
            raise errors.NotFound()
        if request.method == "GET":
            return web.Response(text=metadata.password)
        if request.method != "POST":
            raise errors.Invalid("Only GET and POST are known here.")
        body = await request.read()
        if len(body) > PASSWORD_BYTES:
            raise errors.Invalid("The password is too long.")
        if metadata.password:
            raise errors.Conflict("A password was posted already.")
        try:
            text = body.decode()
        except UnicodeDecodeError:
            raise errors.Invalid("The password must be text.") from None
        await self.source.set_password(instance_id, text)
        self._cache.pop((instance_id, project_id), None)
        return web.Response(text="")
