"""As much of Barbican as gives certificates away."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from aiohttp.test_utils import TestServer


@dataclass
class KeyManager:
    """It plays Barbican: secrets, and whose tokens may read them. What it was asked stays."""

    secrets: dict[str, bytes] = field(default_factory=dict)
    readers: set[str] = field(default_factory=set)
    asked: list[tuple[str, str]] = field(default_factory=list)

    async def payload(self, request: web.Request) -> web.Response:
        token, secret = request.headers["X-Auth-Token"], self.secrets.get(request.match_info["id"])
        self.asked.append((token, request.headers["Accept"]))
        if token not in self.readers:
            return web.json_response({"code": 403, "title": "Forbidden", "description": "Secret payload retrieval not allowed"}, status=403)
        if secret is None:
            return web.json_response({"code": 404, "title": "Not Found", "description": "Secret not found."}, status=404)
        return web.Response(body=secret, content_type="application/octet-stream")

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Its address, without a version."""
        app = web.Application()
        app.router.add_get("/v1/secrets/{id}/payload", self.payload)
        async with TestServer(app) as server:
            yield str(server.make_url("")).rstrip("/")
