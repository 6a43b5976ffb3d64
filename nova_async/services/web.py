"""What the built-in services share at their HTTP edge: bodies, callers, and errors in each service's own form."""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol
from urllib.parse import unquote

import msgspec
from aiohttp import web

from nova_async import errors, log
from nova_async.context import Context
from nova_async.model.access_rules import Visit
from nova_async.services.callers import CallersTokens
from nova_async.world import World

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
MOST = 2000  # characters of a refusal, which may repeat what it refuses
logger = log.get("web")

STATUS: dict[type[errors.Error], int] = {
    errors.Invalid: 400,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.NotAcceptable: 406,
    errors.Conflict: 409,
    errors.Gone: 410,
    errors.TooLarge: 413,
    errors.BadMediaType: 415,
    errors.Unsupported: 501,
    errors.NoCapacity: 503,
    errors.Unavailable: 503,
}


class Tokens(Protocol):
    """Who knows tokens: the built-in identity service, or a client of the real one."""

    async def validate(self, token: str, visit: Visit | None = None) -> Context:
        """The caller behind a token; its ``request_id`` is empty. Raises ``Unauthorized`` or ``Unavailable``.

        Raises ``Forbidden`` for a token that is bound by access rules of which none allows ``visit``: always, without one.
        """
        ...


class Identity(Tokens, Protocol):
    """What the compute API asks of the identity service."""

    async def has_project(self, project_id: str) -> bool:
        """Whether there is such a project. True also where that cannot be found out: nobody answers, or not to us."""
        ...


CONTEXT = web.RequestKey("context", Context)


def context_of(request: web.Request) -> Context:
    return request[CONTEXT]


def visit_of(request: web.Request) -> Visit:
    """What a request asks for, for the access rules of the token that it shows."""
    path = "/".join(unquote(segment).replace("/", "%2F") for segment in request.rel_url.raw_path.split("/"))
    return Visit(method=request.method, path=path, service_token=request.headers.get("X-Service-Token", ""))


def status_of(error: errors.Error) -> int:
    """The HTTP status of the nearest kind of error."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS) if isinstance(error, tuple(STATUS)) else 500


def json_response(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), status=status, content_type="application/json", headers=headers)


async def json_body(request: web.Request) -> dict[str, Any]:
    """The request's JSON object; raises ``Invalid`` when it is none."""
    try:
        body = msgspec.json.decode(await request.read())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise errors.Invalid("Malformed request body: it is not valid JSON.") from None
    if not isinstance(body, dict):
        raise errors.Invalid("Malformed request body: a JSON object is expected.")
    return body


def edge(
    world: World,
    tokens: Tokens | None,
    form: Callable[[int, str], Any],
    open_to_all: Callable[[web.Request], bool] = lambda _: False,
    callers: CallersTokens | None = None,
) -> Any:
    """The middleware of a service: request id, caller (none without ``tokens``), and errors through ``form(status, message)``.

    ``callers`` keeps the tokens of those who change something, where another service wants to know them.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        request_id = f"req-{world.uuid()}"
        with log.bound(request_id=request_id):
            try:
                if tokens is not None and not open_to_all(request):
                    token = request.headers.get("X-Auth-Token", "")
                    if not token:
                        raise errors.Unauthorized()
                    caller = await tokens.validate(token, visit_of(request))
                    if callers is not None and request.method != "GET":
                        callers.remember(request_id, token)
                    request[CONTEXT] = msgspec.structs.replace(caller, request_id=request_id)
                response = await handler(request)
            except errors.Error as error:
                status = status_of(error)
                if status >= 500 and not isinstance(error, errors.Unsupported):  # that answers the request, nothing failed
                    logger.error("request.failed", path=request.path, error=error.message, detail=error.detail)
                response = json_response(form(status, error.message[:MOST]), status)
                if status == 401:
                    response.headers["WWW-Authenticate"] = "Keystone uri=/identity"
                if isinstance(error, errors.Unavailable):
                    response.headers["Retry-After"] = str(error.retry_after)
            except web.HTTPException as error:
                response = json_response(form(error.status, error.reason), error.status)
                if "Allow" in error.headers:
                    response.headers["Allow"] = error.headers["Allow"]
            except web.RequestPayloadError:
                response = json_response(form(400, errors.Unreadable.default), 400)
            except Exception as error:
                logger.exception("request.crashed", path=request.path, error=errors.plain(error))
                response = json_response(form(500, "Unexpected error; the request id names it in the log."), 500)
            if not response.prepared:
                response.headers["x-openstack-request-id"] = request_id
            return response

    return middleware
