"""The way from a guest to the metadata service: knows the guest by bridge and address, and vouches for it."""

import asyncio
import hashlib
import hmac
import socket
import ssl
from collections.abc import Callable

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector, web

from nova_async import log
from nova_async.compute.plugging.links import HAS_IPV6, METADATA, METADATA6
from nova_async.compute.plugging.namespaces import inside
from nova_async.compute.plugging.records import End
from nova_async.errors import plain
from nova_async.model.guests import PortSpec

Owner = Callable[[str, str], tuple[str, PortSpec] | None]  # bridge, address -> server and port
REQUEST_SECONDS = 30
BODY_BYTES = 16 * 1024
AT_ONCE = 64
HTTP = 80
logger = log.get("metadata_proxy")


class MetadataProxy:
    """One listener per network, each deaf to all other interfaces. ``trust`` as in ``World``."""

    def __init__(self, metadata_url: str, shared_secret: str, owner: Owner, trust: ssl.SSLContext | bool) -> None:
        self.trust = trust
        self.url, self.secret, self.owner = metadata_url.rstrip("/"), shared_secret, owner
        self.ports: dict[str, int] = {}
        self._ends: dict[str, End] = {}
        self._runners: dict[str, web.AppRunner] = {}
        self._session: ClientSession | None = None
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def listen(self, bridge: str, end: End) -> None:
        """Take requests that come from this bridge by the host's end of it. Safe to repeat.

        ``ports`` says where, unless the end is in a namespace of its own: there it is where guests ask.
        """
        if self._ends.get(bridge) == end:
            return
        await self.forget(bridge)
        app = web.Application(client_max_size=BODY_BYTES)

        async def forward(request: web.Request) -> web.Response:
            return await self._forward(bridge, request)

        app.router.add_route("*", "/{path:.*}", forward)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1, keepalive_timeout=10)
        await runner.setup()
        port = 0
        try:
            for family in (socket.AF_INET, socket.AF_INET6) if HAS_IPV6 else (socket.AF_INET,):
                listener = await asyncio.to_thread(_listener, family, end, port)
                port = listener.getsockname()[1]
                await web.SockSite(runner, listener, backlog=64).start()
        except BaseException:
            await runner.cleanup()
            raise
        self._runners[bridge], self._ends[bridge] = runner, end
        if not end.namespace:
            self.ports[bridge] = port

    async def forget(self, bridge: str) -> None:
        self.ports.pop(bridge, None)
        self._ends.pop(bridge, None)
        runner = self._runners.pop(bridge, None)
        if runner is not None:
            await runner.cleanup()

    async def close(self) -> None:
        for bridge in list(self._runners):
            await self.forget(bridge)
        if self._session is not None:
            await self._session.close()

    async def _forward(self, bridge: str, request: web.Request) -> web.Response:
        """Pass the guest's request on with our word for who it is; headers of the guest's own are dropped."""
        found = self.owner(bridge, (request.remote or "").partition("%")[0])
        if found is None:
            return web.Response(status=404)
        if self._slots.locked():
            return web.Response(status=503, headers={"Retry-After": "1"})
        instance_id, port = found
        async with self._slots:
            try:
                async with self._client().request(
                    request.method,
                    f"{self.url}{request.rel_url.raw_path}",
                    headers=self._proof(instance_id, port.project_id, request.remote or ""),
                    data=await request.read() if request.can_read_body else None,
                    allow_redirects=False,
                ) as answer:
                    body = await answer.read()
            except (ClientError, TimeoutError, OSError) as error:
                logger.warning("metadata.unreachable", error=plain(error))
                return web.Response(status=503, headers={"Retry-After": "5"})
        return web.Response(status=answer.status, body=body, headers={"Content-Type": answer.headers.get("Content-Type", "text/plain")})

    def _proof(self, instance_id: str, project_id: str, address: str) -> dict[str, str]:
        proof = hmac.new(self.secret.encode(), instance_id.encode(), hashlib.sha256).hexdigest()
        return {"X-Instance-ID": instance_id, "X-Tenant-ID": project_id, "X-Instance-ID-Signature": proof, "X-Forwarded-For": address}

    def _client(self) -> ClientSession:
        if self._session is None:
            self._session = ClientSession(
                timeout=ClientTimeout(total=REQUEST_SECONDS, connect=5), trust_env=False, connector=TCPConnector(ssl=self.trust)
            )
        return self._session


def _listener(family: socket.AddressFamily, end: End, port: int) -> socket.socket:
    """A socket that hears this interface only, on a port of its own choice (0) or the given one. Blocks.

    In a namespace of its own it has the addresses that guests ask, and stays there: a socket keeps its namespace.
    """
    with inside(end.namespace):
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, end.interface.encode())
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind(_own_place(family, end) if end.namespace else ("", port))
        except BaseException:
            listener.close()
            raise
        return listener


def _own_place(family: socket.AddressFamily, end: End) -> tuple[str, int] | tuple[str, int, int, int]:
    if family == socket.AF_INET:
        return METADATA.partition("/")[0], HTTP
    return METADATA6.partition("/")[0], HTTP, 0, socket.if_nametoindex(end.interface)
