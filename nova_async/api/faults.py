"""Errors as Nova tells them: which status, under which name, in which words. The only place in the API that knows."""

from typing import Any

import msgspec
from aiohttp import web

from nova_async import errors
from nova_async.services.web import status_of

NAMES: dict[int, str] = {
    400: "badRequest",
    401: "unauthorized",
    403: "forbidden",
    404: "itemNotFound",
    405: "badMethod",
    409: "conflictingRequest",
    413: "overLimit",
    415: "badMediaType",
    429: "overLimit",
    501: "notImplemented",
    503: "serviceUnavailable",
}  # any other: computeFault
MOST = 2000  # characters of a message
UNEXPECTED = "Unexpected API Error. The request id of this answer names it in the service's log."


def fault(error: errors.Error) -> web.Response:
    """The answer for an error of ours."""
    status = status_of(error)
    headers = {}
    inner: dict[str, Any] = {"code": status, "message": short(error.message)}
    if status == 503:
        headers["Retry-After"] = str(getattr(error, "retry_after", 5))
    if status == 413:
        inner["retryAfter"] = "0"
        headers["Retry-After"] = "0"
    if status == 401:
        return unauthorized(short(error.message))
    return _json({NAMES.get(status, "computeFault"): inner}, status, headers)


def short(message: str) -> str:
    """Messages repeat what was asked for, which may be as long as a body."""
    return message if len(message) <= MOST else message[:MOST] + "..."


def unexpected() -> web.Response:
    """The answer for an exception that nobody foresaw; says nothing of its inside."""
    return _json({"computeFault": {"code": 500, "message": UNEXPECTED}}, 500, {})


def unauthorized(message: str) -> web.Response:
    """As the token middleware in front of Nova answers."""
    body = {"error": {"code": 401, "title": "Unauthorized", "message": message}}
    return _json(body, 401, {"WWW-Authenticate": 'Keystone uri="/identity"'})


def not_routed() -> web.Response:
    """No such path, or no such method on it: Nova's routing layer answers in plain text."""
    text = "404 Not Found\n\nThe resource could not be found.\n\n   "
    return web.Response(text=text, status=404)


def _json(body: Any, status: int, headers: dict[str, str]) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), status=status, content_type="application/json", headers=headers)
