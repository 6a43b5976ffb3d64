"""Vendor data that services of the operator's own make for each server, as Nova's DynamicJSON provider asks for it.

Each target gets a POST with what is known of the server, and answers with any JSON. It stands in ``vendor_data2.json`` under the target's
name. A target that fails says nothing (``{}``), unless ``metadata.vendor_data_fatal`` is set. With ``metadata.vendor_data_token`` they are
shown a token of our own user, as with Nova's ``[vendordata_dynamic_auth]``.
"""

import asyncio
import base64
from typing import Any

import msgspec
from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector

from nova_async import log
from nova_async.config import Config
from nova_async.errors import Invalid, Unavailable, plain
from nova_async.metadata.documents import STATIC, InstanceMetadata
from nova_async.services.client import TokenSource
from nova_async.world import World

ANSWER_BYTES = 2**20
CONNECTIONS = 16
GOOD = range(200, 300)
UNAUTHORIZED = 401
HEADERS = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "openstack-nova-vendordata"}
logger = log.get("metadata.vendor_data")


def targets(config: Config) -> dict[str, str]:
    """Name to URL. Raises ``Invalid`` for an option that says no such thing."""
    found: dict[str, str] = {}
    for target in config.metadata.vendor_data_targets:
        name, _, url = target.partition("@")
        if not name or not url.startswith(("http://", "https://")) or name in found or name == STATIC:
            raise Invalid(f"metadata.vendor_data_targets: {target!r} is to be NAME@URL, each name once and none of them {STATIC}.")
        found[name] = url
    return found


class VendorData:
    """What the operator's services say. ``tokens``: of our own user."""

    def __init__(self, config: Config, world: World, tokens: TokenSource | None = None) -> None:
        self._config, self._world = config, world
        self._tokens = tokens if config.metadata.vendor_data_token else None

    async def told(self, m: InstanceMetadata) -> InstanceMetadata:
        """The same, with what all targets say of it. Raises ``Unavailable`` where one fails and that is fatal."""
        known = targets(self._config)
        if not known:
            return m
        about = msgspec.json.encode(_about(m, self._config))
        async with ClientSession(connector=TCPConnector(limit=CONNECTIONS, ssl=self._world.trust)) as session:
            answers = await asyncio.gather(*(self._asked(session, name, url, about, m.uuid) for name, url in known.items()))
        return msgspec.structs.replace(m, dynamic=dict(zip(known, answers, strict=True)))

    async def _asked(self, session: ClientSession, name: str, url: str, about: bytes, server: str) -> Any:
        options = self._config.metadata
        timeout = ClientTimeout(total=options.vendor_data_seconds)
        try:
            shown = {"X-Auth-Token": token} if (token := await self._token()) else {}
            async with session.post(url, data=about, headers=HEADERS | shown, timeout=timeout, allow_redirects=False) as response:
                body = await _bounded(response.content)
                if response.status == UNAUTHORIZED and self._tokens is not None:
                    self._tokens.forget(token)
                if response.status not in GOOD:
                    raise ValueError(f"it answered {response.status}")
                return msgspec.json.decode(body) if body else {}
        except (ClientError, OSError, TimeoutError, ValueError, RecursionError, Unavailable) as error:
            logger.warning("vendor_data.failed", target=name, server=server, error=plain(error)[:300])
            if options.vendor_data_fatal:
                raise Unavailable(f"The vendor data service {name} does not answer as it should.") from None
            return {}

    async def _token(self) -> str:
        return await self._tokens.token() if self._tokens is not None else ""


def _about(m: InstanceMetadata, config: Config) -> dict[str, Any]:
    """What Nova tells; who booted a server is not kept, so that its roles are as Nova has them of old servers: none."""
    return {
        "project-id": m.project_id,
        "instance-id": m.uuid,
        "image-id": m.image_id,
        "user-data": base64.b64encode(m.user_data).decode() if m.user_data is not None else None,
        "hostname": m.hostname.removesuffix(f".{config.metadata.dhcp_domain}"),
        "metadata": m.metadata,
        "boot-roles": "",
    }


async def _bounded(content: Any) -> bytes:
    """All of an answer. Raises ``ValueError`` for one that is too long."""
    body = b""
    async for piece in content.iter_chunked(2**16):
        body += piece
        if len(body) > ANSWER_BYTES:
            raise ValueError(f"it answered with more than {ANSWER_BYTES} octets")
    return body
