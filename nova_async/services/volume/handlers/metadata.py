"""Metadata of volumes and of snapshots: the same words at the same places."""

from typing import Any, Protocol

from aiohttp import web

from nova_async.context import Context
from nova_async.errors import Invalid, NotFound, TooLarge
from nova_async.services.volume import fields as f
from nova_async.services.volume.handlers.base import Routes
from nova_async.services.web import context_of, json_body, json_response


class Row(Protocol):
    @property
    def metadata(self) -> dict[str, str]: ...


class Records(Protocol):
    """Where the rows are read and changed; ``metadata`` may be a function of what it was."""

    async def get(self, ctx: Context, id: str, /) -> Row: ...

    async def change(self, ctx: Context, id: str, /, *, metadata: Any) -> Row: ...


class MetadataHandlers:
    """``noun``: what they belong to, as messages name it."""

    def __init__(self, noun: str, records: Records) -> None:
        self.noun, self.records = noun, records

    def routes(self, one: str) -> Routes:
        """Below the path of one of them."""
        return [
            ("GET", one + "/metadata", self.show),
            ("POST", one + "/metadata", self.add),
            ("PUT", one + "/metadata", self.replace),
            ("GET", one + "/metadata/{key}", self.show_item),
            ("PUT", one + "/metadata/{key}", self.set_item),
            ("DELETE", one + "/metadata/{key}", self.remove_item),
        ]

    async def show(self, request: web.Request) -> web.StreamResponse:
        return json_response({"metadata": await self._known(request)})

    async def add(self, request: web.Request) -> web.StreamResponse:
        more = f.metadata("metadata", (await json_body(request)).get("metadata"))
        return json_response({"metadata": await self._change(request, lambda old: together(old, more))})

    async def replace(self, request: web.Request) -> web.StreamResponse:
        whole = f.metadata("metadata", (await json_body(request)).get("metadata"))
        return json_response({"metadata": await self._change(request, whole)})

    async def show_item(self, request: web.Request) -> web.StreamResponse:
        key = request.match_info["key"]
        return json_response({"meta": {key: item(self.noun, await self._known(request), key)}})

    async def set_item(self, request: web.Request) -> web.StreamResponse:
        more = f.metadata("meta", (await json_body(request)).get("meta"))
        if set(more) != {request.match_info["key"]}:
            raise Invalid("The request body and the URI must name the same key.")
        await self._change(request, lambda old: together(old, more))
        return json_response({"meta": more})

    async def remove_item(self, request: web.Request) -> web.StreamResponse:
        key = request.match_info["key"]
        item(self.noun, await self._known(request), key)
        await self._change(request, lambda old: {k: value for k, value in old.items() if k != key})
        return web.Response(status=200)

    async def _known(self, request: web.Request) -> dict[str, str]:
        return (await self.records.get(context_of(request), request.match_info["id"])).metadata

    async def _change(self, request: web.Request, metadata: Any) -> dict[str, str]:
        return (await self.records.change(context_of(request), request.match_info["id"], metadata=metadata)).metadata


def together(old: dict[str, str], more: dict[str, str]) -> dict[str, str]:
    """Raises ``TooLarge`` where that is more than one thing may have."""
    whole = old | more
    if len(whole) > f.MOST_ITEMS:
        raise TooLarge(f"MetadataLimitExceeded: Maximum number of metadata items exceeds {f.MOST_ITEMS}.")
    return whole


def item(noun: str, items: dict[str, str], key: str) -> str:
    """Raises ``NotFound``."""
    if key not in items:
        raise NotFound(f"{noun} metadata has no key {key[:255]}.")
    return items[key]
