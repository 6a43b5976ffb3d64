"""One request to the identity API: who asks, the body, the query; and how lists and faults look."""

from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import urlencode

import msgspec
from aiohttp import web

from nova_async import errors
from nova_async.db import identity as db
from nova_async.services.identity.builtin import BuiltinIdentity
from nova_async.services.identity.tokens import Token
from nova_async.services.web import json_response

MAX_BODY_OCTETS = 114_688  # Keystone's max_request_body_size
MAX_LIST = 10_000
S = TypeVar("S", bound=msgspec.Struct)


class Call:
    """``token`` is None only on routes that are open to all."""

    def __init__(self, request: web.Request, identity: BuiltinIdentity, token: Token | None) -> None:
        self.request = request
        self.identity = identity
        self._token = token
        self._json: dict[str, Any] | None = None

    @property
    def token(self) -> Token:
        if self._token is None:
            raise errors.Unauthorized()
        return self._token

    @property
    def is_admin(self) -> bool:
        return "admin" in self.token.roles

    @property
    def is_service(self) -> bool:
        """Another service, which asks who is behind a token, and which projects there are."""
        return self.is_admin or "service" in self.token.roles

    @property
    def reads_all(self) -> bool:
        """Administrators, and readers of the whole system."""
        return self.is_admin or (self.token.system and "reader" in self.token.roles)

    @property
    def address(self) -> str:
        return self.request.remote or ""

    @property
    def base(self) -> str:
        return f"{self.identity.config.public_url}/identity/v3"

    def id(self, name: str) -> str:
        return self.request.match_info[name]

    def new_id(self) -> str:
        return self.identity.world.uuid().replace("-", "")

    # The query

    def text(self, name: str) -> str | None:
        return self.request.query.get(name)

    def flag(self, name: str) -> bool | None:
        """None when absent; present means true unless it says 0, f(alse) or n(o), as Keystone reads it."""
        value = self.request.query.get(name)
        return None if value is None else value.lower() not in ("0", "f", "false", "n", "no", "off")

    def words(self, name: str) -> list[str] | None:
        value = self.request.query.get(name)
        return None if value is None else [w for w in value.split(",") if w]

    @property
    def page(self) -> db.Page:
        return db.Page(marker=self.text("marker"), limit=min(self._limit() or MAX_LIST, MAX_LIST))

    def _limit(self) -> int | None:
        text = self.text("limit")
        if text is None:
            return None
        if not text.isascii() or not text.isdigit() or len(text) > 9:
            raise errors.Invalid("Invalid input for query parameter limit: a number from 0 is expected.")
        return int(text)

    # The body

    async def json(self) -> dict[str, Any]:
        if self._json is None:
            self._json = _object(await _octets(self.request))
        return self._json

    async def read(self, kind: type[S]) -> S:
        """The whole body as a struct."""
        return _convert(await self.json(), kind)

    async def inner(self, wrapper: str, kind: type[S]) -> tuple[S, dict[str, Any]]:
        """The object under ``wrapper``, and what it says beyond the fields of ``kind``."""
        content = (await self.json()).get(wrapper)
        if not isinstance(content, dict):
            raise errors.Invalid(f"Expecting to find {wrapper} in request body: an object is expected.")
        extra = {k: v for k, v in content.items() if k not in kind.__struct_fields__ and k not in ("id", "links")}
        return _convert(content, kind), extra

    # The answer

    def one(self, wrapper: str, view: dict[str, Any], status: int = 200) -> web.Response:
        return json_response({wrapper: view}, status)

    def many(self, wrapper: str, views: list[dict[str, Any]], **more: Any) -> web.Response:
        """A list with its links. A page cut by ``limit`` says where the next begins."""
        page = self.page
        self_url = self.identity.config.public_url + self.request.path_qs
        links: dict[str, Any] = {"next": None, "self": self_url, "previous": None}
        if "limit" in self.request.query and views and len(views) >= page.limit:
            query = {**self.request.query, "marker": views[-1]["id"]}
            links["next"] = f"{self.identity.config.public_url}{self.request.path}?{urlencode(query)}"
        shown = [v for v in views if all(_fits(v, k, text) for k, text in self.request.query.items() if "__" in k)]
        return json_response({wrapper: shown, "links": links, **more})


def empty(status: int = 204) -> web.Response:
    return web.Response(status=status)


def fault(status: int, message: str) -> dict[str, Any]:
    """Keystone's form of an error."""
    try:
        title = HTTPStatus(status).phrase
    except ValueError:
        title = "Error"
    return {"error": {"code": status, "title": title, "message": message}}


def could_not_find(what: str, id_: str) -> errors.NotFound:
    return errors.NotFound(f"Could not find {what}: {id_[:255]}.")


async def _octets(request: web.Request) -> bytes:
    """At most ``MAX_BODY_OCTETS``, whatever the length says."""
    if (request.content_length or 0) > MAX_BODY_OCTETS:
        raise errors.TooLarge()
    read = bytearray()
    async for chunk in request.content.iter_chunked(16_384):
        read += chunk
        if len(read) > MAX_BODY_OCTETS:
            raise errors.TooLarge()
    return bytes(read)


def _object(octets: bytes) -> dict[str, Any]:
    try:
        body = msgspec.json.decode(octets)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise errors.Invalid("Malformed request body: it is not valid JSON.") from None
    if not isinstance(body, dict):
        raise errors.Invalid("Malformed request body: a JSON object is expected.")
    if b"\\u0000" in octets and "\0" in _texts(body):
        raise errors.Invalid("Malformed request body: NUL characters are not allowed.")
    return body


def _texts(value: Any) -> str:
    """All text of a JSON value, run together."""
    match value:
        case str():
            return value
        case dict():
            return "".join(k + _texts(v) for k, v in value.items())
        case list():
            return "".join(map(_texts, value))
        case _:
            return ""


def _convert(content: dict[str, Any], kind: type[S]) -> S:
    try:
        return msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        raise errors.Invalid(f"Invalid input: {error}") from None


def _fits(view: dict[str, Any], condition: str, text: str) -> bool:
    """Keystone's inexact filters: ``name__contains=x``."""
    name, _, how = condition.partition("__")
    value = str(view.get(name, ""))
    match how:
        case "contains":
            return text in value
        case "icontains":
            return text.lower() in value.lower()
        case "startswith":
            return value.startswith(text)
        case "istartswith":
            return value.lower().startswith(text.lower())
        case "endswith":
            return value.endswith(text)
        case "iendswith":
            return value.lower().endswith(text.lower())
        case _:
            return True
