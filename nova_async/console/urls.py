"""The addresses of consoles, in the forms that Nova gives them."""

from collections.abc import Callable
from urllib.parse import quote, urlsplit

from nova_async.config import Config
from nova_async.model.consoles import NOVNC, SERIAL, SPICE_DIRECT, SPICE_HTML5

SOCKETS = {"http": "ws", "https": "wss"}


def url_of(config: Config, console_type: str, token: str) -> str:
    return FORMS[console_type](config, token)


def _novnc(config: Config, token: str) -> str:
    """The page is told where its WebSocket is, from the root of its origin on."""
    folder = urlsplit(config.console_url).path.strip("/")
    path = f"{folder}/?token={token}" if folder else f"?token={token}"
    return f"{config.console_url}/vnc_lite.html?path={quote(path, safe='')}"


def _spice(config: Config, token: str) -> str:
    return f"{config.console_url}/spice_auto.html?token={token}"


def _spice_direct(config: Config, token: str) -> str:
    """For a proxy of the operator's own, which asks os-console-auth-tokens where the guest is."""
    return f"{config.console.spice_direct_url}?token={token}"


def _serial(config: Config, token: str) -> str:
    """A bare WebSocket, for programs."""
    scheme, _, rest = config.console_url.partition("://")
    return f"{SOCKETS[scheme]}://{rest}/?token={token}"


FORMS: dict[str, Callable[[Config, str], str]] = {
    NOVNC: _novnc,
    SPICE_HTML5: _spice,
    SPICE_DIRECT: _spice_direct,
    SERIAL: _serial,
}
