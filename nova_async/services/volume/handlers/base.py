"""What the handlers of all nouns share."""

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from nova_async.config import Config
from nova_async.errors import Invalid
from nova_async.services.volume.builtin import BuiltinVolumes
from nova_async.services.volume.paging import Page
from nova_async.services.web import context_of, json_response

Call = Callable[[web.Request], Awaitable[web.StreamResponse]]
Routes = list[tuple[str, str, Call]]  # method, path below the project, handler
VERSION = web.RequestKey("volume-version", int)


class Handlers:
    def __init__(self, service: BuiltinVolumes, config: Config) -> None:
        self.service, self.config = service, config
        self.base = f"{config.public_url}/volume"

    def answer(self, request: web.Request, plural: str, page: Page, views: list[dict[str, Any]]) -> web.Response:
        """A list with the link to its next page, and the total where it was asked for."""
        body: dict[str, Any] = {plural: views}
        if page.more:
            following = request.rel_url.update_query(marker=views[-1]["id"])
            body[f"{plural}_links"] = [{"rel": "next", "href": f"{self.config.public_url}{following}"}]
        if request.query.get("with_count", "").lower() in ("1", "true"):
            body["count"] = page.total
        return json_response(body)


def wants_all(request: web.Request) -> bool:
    """Whether an administrator asks for the things of all projects."""
    text = request.query.get("all_tenants", "").lower()
    if text not in ("", "0", "1", "true", "false"):
        raise Invalid(f"Invalid input for field/attribute all_tenants. Value: {text[:40]}. Expected true or false.")
    return text in ("1", "true") and context_of(request).is_service


def one_key(body: dict[str, Any]) -> str:
    """The action that a body names. Raises ``Invalid``."""
    if len(body) != 1:
        raise Invalid("There is no such action: the body must have one key, the action's name.")
    return next(iter(body))
