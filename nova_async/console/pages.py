"""The pages of consoles and what they load: files that ship with the package, under a policy that lets in nothing else.

Pages hold no secret; the token stays in the address, which no referrer and no cache keeps.
"""

import asyncio
import mimetypes
import secrets
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web

from nova_async.config import Config

FOLDER = Path(__file__).parent / "static"
NONCE = b"{{nonce}}"
OWN_STYLES = "style-src 'self'"
STYLES = {  # what of the strict policy a page's library needs otherwise
    "serial.html": "style-src 'self' 'nonce-{nonce}'",  # xterm.js writes its colours and sizes into style elements
    "spice_auto.html": "style-src 'self'; style-src-attr 'unsafe-inline'",  # spice-html5 places video streams by attribute
}
KEPT = {".html": "no-store"}
KEPT_BY_NOBODY = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Cross-Origin-Resource-Policy": "same-origin"}
KEPT_OTHERS = "public, max-age=3600"
SCRIPT = "text/javascript"


def add_to(app: web.Application, config: Config, origins: frozenset[str]) -> None:
    """One route for each file; nothing is looked up by a name that a request gives."""
    policy = _policy(config, origins)
    for path in sorted(FOLDER.rglob("*")):
        if path.is_file():
            app.router.add_get(f"/{path.relative_to(FOLDER).as_posix()}", _Page(path, policy).show)


class _Page:
    def __init__(self, path: Path, policy: str) -> None:
        self.path, self.policy = path, policy
        kind = SCRIPT if path.suffix in (".js", ".mjs") else mimetypes.guess_type(path.name)[0]
        self.kind = kind if kind and kind.startswith("text/") else "text/plain"

    async def show(self, _: web.Request) -> web.Response:
        nonce = secrets.token_urlsafe(16)
        text = (await asyncio.to_thread(self.path.read_bytes)).replace(NONCE, nonce.encode())
        styles = STYLES.get(self.path.name, OWN_STYLES).format(nonce=nonce)
        headers = {
            "Content-Security-Policy": f"{self.policy}; {styles}",
            "Cache-Control": KEPT.get(self.path.suffix, KEPT_OTHERS),
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "Cross-Origin-Resource-Policy": "same-origin",
        }
        return web.Response(body=text, content_type=self.kind, charset="utf-8", headers=headers)


def _policy(config: Config, origins: frozenset[str]) -> str:
    parts = urlsplit(config.console_url)
    sockets = f"{'wss' if parts.scheme == 'https' else 'ws'}://{parts.netloc}"
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "img-src 'self' data: blob:",
            "media-src blob:",
            f"connect-src 'self' {sockets}",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'self' " + " ".join(sorted(origins)),
        )
    )
