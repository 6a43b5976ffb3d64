"""The edge: from HTTP to the row of the route table, its checks, its handler, and back."""

import asyncio
import re
import zlib
from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import web

from nova_async import log
from nova_async.api import body as bodies
from nova_async.api import faults, openapi, versions
from nova_async.api.handlers import instances
from nova_async.api.handlers.versions import choices, one_version, service_versions
from nova_async.api.parts import Parts
from nova_async.api.request import Request
from nova_async.api.route import Found, Route, Tree, check_policies, choose
from nova_async.api.routes import ROUTES
from nova_async.api.versions import V
from nova_async.context import Context
from nova_async.errors import Error, Invalid, NotFound, Unauthorized, Unavailable, plain
from nova_async.services.web import visit_of

__all__ = ["Parts", "application"]

PREFIX = "/compute"
HOST = re.compile(r"^[A-Za-z0-9.:\[\]-]{1,255}$")
UNKNOWN_ROOT = "http://unknown-root"
TOKEN_IN_PATH = re.compile(r"(/os-console-auth-tokens/)[^/]+")
SHOWN_VERSION = web.RequestKey("shown_version", str)
WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
logger = log.get("api")


def application(parts: Parts) -> web.Application:
    """The compute API, to be mounted at ``/compute``: ``/``, ``/v2.1/...``, ``/v2/...``, each with or without a project id."""
    edge = Edge(parts)
    app = web.Application()
    app.router.add_route("*", "", edge.handle)
    app.router.add_route("*", "/{rest:(?s:.*)}", edge.handle)  # an id may hold a newline
    return app


class Edge:
    """One per process. A request passes ``handle`` (ids, faults, headers), ``_route`` (who, where), ``_serve`` (checks, handler)."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        check_policies(ROUTES, parts.policy)
        self.tree = Tree(ROUTES)
        self.public_url = parts.config.api.public_url.rstrip("/")
        self._documents: dict[int, bytes] = {}  # by version, without the service's address

    async def handle(self, http: web.Request) -> web.StreamResponse:
        request_id = f"req-{self.parts.world.uuid()}"
        with log.bound(request_id=request_id):
            try:
                async with asyncio.timeout(self.parts.config.api.request_seconds):
                    response = await self._route(http, request_id)
            except Error as error:
                response = self._refused(http, error)
            except TimeoutError:
                response = self._refused(http, Unavailable("The request took too long."))
            except (ConnectionError, asyncio.CancelledError, web.HTTPException):
                raise
            except Exception as error:
                logger.exception("request.crashed", method=http.method, path=_loggable(http.path), error=plain(error))
                response = faults.unexpected()
        response.headers["x-openstack-request-id"] = request_id
        response.headers["x-compute-request-id"] = request_id
        if (shown := http.get(SHOWN_VERSION)) is not None:
            _add_version_headers(response, shown)
        return response

    async def _route(self, http: web.Request, request_id: str) -> web.Response:
        """Which tree, whose token, which rows."""
        path, root = http.rel_url.raw_path.removeprefix(PREFIX), self._root(http)
        tree, _, rest = path.lstrip("/").partition("/")
        if tree not in ("v2.1", "v2"):
            return _json(service_versions(root)) if not tree and not rest else _json(choices(root, path), 300)
        if not rest.strip("/"):
            return _json(one_version(root, tree))
        if rest == "openapi.json" and http.method == "GET":
            return web.Response(body=await self._document(http, root), content_type="application/json")
        ctx = await self._caller(http, request_id)
        found = self.tree.find(http.method, rest)
        if found is None:
            return faults.not_routed()
        version = self._version(http, legacy=tree == "v2")
        if any("\0" in value for value in found.values.values()):
            raise NotFound()
        if found.project_id is not None and found.project_id != ctx.project_id:
            raise Invalid(
                f"Malformed request URL: URL's project_id '{found.project_id}' doesn't match Context's project_id '{ctx.project_id}'"
            )
        path = rest.strip("/").removeprefix(f"{found.project_id}/") if found.project_id else rest.strip("/")
        request = Request(self.parts, ctx, version, path, found.values, found.project_id)
        request.root, request.legacy, request.asked_headers = root, tree == "v2", http.headers
        return await self._serve(http, request, found)

    async def _caller(self, http: web.Request, request_id: str) -> Context:
        token = http.headers.get("X-Auth-Token", "")
        if not token:
            raise Unauthorized()
        caller = await self.parts.tokens.validate(token, visit_of(http))
        if self.parts.callers and http.method in WITH_BODY:
            self.parts.callers.remember(request_id, token)
        outer = http.headers.get("X-OpenStack-Request-ID")
        if outer is not None and not (outer.startswith("req-") and len(outer) == 40 and outer.isascii()):
            outer = None
        return msgspec.structs.replace(caller, request_id=request_id, global_request_id=outer)

    def _version(self, http: web.Request, legacy: bool) -> int:
        """The microversion; noted on the request so that the answer, even a fault, names it."""
        if legacy:
            return V.BASE
        text = versions.asked(http.headers)
        try:
            version = versions.parse(text)
        except Invalid:
            raise
        except Error:
            http[SHOWN_VERSION] = text or ""
            raise
        http[SHOWN_VERSION] = f"2.{int(version)}"
        return version

    async def _serve(self, http: web.Request, request: Request, found: Found) -> web.Response:
        """Body, query, policy, handler, view: in this order."""
        if http.method in WITH_BODY:
            bodies.check_media_type(http)
            raw = await bodies.read(http, self.parts.config.api.max_body_bytes)
            request.body = bodies.parse(raw) if raw else None
        route = choose(found.rows, request.version, request.body)
        _check(route, request, http)
        await _authorize(route, request)
        assert route.handler is not None, route
        result = await route.handler(request)
        return _answer(route, request, result)

    def _refused(self, http: web.Request, error: Error) -> web.Response:
        response = faults.fault(error)
        told = {"method": http.method, "path": _loggable(http.path), "error": faults.short(error.message)}
        if response.status >= 500:
            logger.error("request.failed", **told, detail=error.detail)
        elif error.detail is not None:
            logger.info("request.refused", **told, detail=faults.short(error.detail))
        return response

    def _root(self, http: web.Request) -> str:
        """Where links lead: the configured address, else the one that the caller used."""
        if self.public_url:
            return self.public_url + PREFIX
        host = http.host if HOST.match(http.host) else self.parts.config.api.listen
        return f"{http.scheme}://{host}{PREFIX}"

    async def _document(self, http: web.Request, root: str) -> bytes:
        """The OpenAPI document of the version that the query or a header names, else of the newest. Made once, kept compressed."""
        version = versions.parse(http.query.get("version") or versions.asked(http.headers) or "latest")
        if version not in self._documents:
            self._documents[version] = await asyncio.to_thread(_compressed, version)
        return zlib.decompress(self._documents[version]).replace(UNKNOWN_ROOT.encode(), root.encode())


def _loggable(path: str) -> str:
    return faults.short(TOKEN_IN_PATH.sub(r"\1***", path))


def _compressed(version: int) -> bytes:
    return zlib.compress(msgspec.json.encode(openapi.document(ROUTES, UNKNOWN_ROOT, version)))


def _check(route: Route, request: Request, http: web.Request) -> None:
    """Hold body and query against the schemas of the row."""
    if route.body is not None:
        if not isinstance(request.body, dict) and not (route.body.optional and request.body is None):
            raise Invalid(bodies.MALFORMED)
        route.body.check(request.body, request.version, relaxed=request.legacy)
    if http.rel_url.raw_query_string:
        given: dict[str, list[str]] = {}
        for key, value in http.rel_url.query.items():
            if "\0" in key or "\0" in value:
                raise Invalid("Query keys and values must not hold NUL characters.")
            given.setdefault(key, []).append(value)
        request.query = route.query.check(given, request.version, relaxed=request.legacy)


async def _authorize(route: Route, request: Request) -> None:
    """Load the server where it is the target, and ask the policy."""
    if route.target == "server":
        server = await instances.visible(request, request.values.get("server_id") or request.values["id"])
        request.server = server
        if route.policy is not None:
            request.require(route.policy, project_id=server.project_id, user_id=server.user_id)
    elif route.target == "caller" and route.policy is not None:
        request.require(route.policy)


def _answer(route: Route, request: Request, result: Any) -> web.Response:
    status = request.status or route.status(request.version)
    if route.view is not None:
        result = route.view.render(result, request)
    if result is None:
        return web.Response(status=status, headers=request.headers)
    return _json(result, status, request.headers)


def _json(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), status=status, content_type="application/json", headers=headers)


def _add_version_headers(response: web.StreamResponse, text: str) -> None:
    response.headers[versions.STANDARD] = f"compute {text}"
    response.headers[versions.OLDER] = text
    response.headers.add("Vary", versions.STANDARD)
    response.headers.add("Vary", versions.OLDER)
