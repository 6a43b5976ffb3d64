"""Which connections over a network are protected, and which the operator has chosen to leave in the clear."""

import ipaddress
import ssl
from typing import Any
from urllib.parse import parse_qs, urlsplit

from nova_async.config import Config

VERIFIED = "verify-full"
PROTECTED = {"https", "amqps"}


def in_the_clear(config: Config) -> list[str]:
    """The options that name somebody beyond this machine who is not, or not surely, who it should be, and all may listen."""
    urls = {
        "bus.url": config.bus.url,
        "bus.management_url": config.bus.management_url,
        "identity.url": config.identity.url,
        "image.url": config.image.url,
        "image.key_manager_url": config.image.key_manager_url,
        "network.url": config.network.url,
        "volume.url": config.volume.url,
        "metadata.url": config.metadata.url,
    }
    named = {name: urlsplit(url) for name, url in urls.items() if url}
    bare = [name for name, url in named.items() if url.scheme not in PROTECTED and not is_here(url.hostname or "")]
    return bare + (["database.url"] if config.database.url and not is_verified(config.database.url) else [])


def secured(url: str) -> dict[str, Any]:
    """A database's URL as arguments for asyncpg: over a network by TLS, with the server's certificate and name verified. Blocks.

    A server on this machine, and a URL that says its own ``sslmode``, is left as it is.
    """
    asked = parse_qs(urlsplit(url).query)
    if "sslmode" in asked or not (host := _host_of(url)) or is_here(host):
        return {"dsn": url}
    return {"dsn": url, "ssl": VERIFIED if "sslrootcert" in asked else ssl.create_default_context()}


def is_verified(url: str) -> bool:
    """Whether nobody else can pass for the server."""
    host = _host_of(url)
    return not host or is_here(host) or parse_qs(urlsplit(url).query).get("sslmode", [VERIFIED]) == [VERIFIED]


def _host_of(url: str) -> str:
    """Empty for a socket of the file system."""
    parts = urlsplit(url)
    named = parts.hostname or parse_qs(parts.query).get("host", [""])[0]
    return "" if named.startswith(("/", "%2f")) else named


def is_here(host: str) -> bool:
    """Whether what is sent there stays on this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
