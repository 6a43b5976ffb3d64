"""Vendor data that services of the operator's own make for each server, as Nova's DynamicJSON provider asks for it.

Each target gets a POST with what is known of the server, and answers with any JSON. It stands in ``vendor_data2.json`` under the target's
name. A target that fails says nothing (``{}``), unless ``metadata.vendor_data_fatal`` is set.
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
from nova_async.world import World

ANSWER_BYTES = 2**20
CONNECTIONS = 16
GOOD = range(200, 300)
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


async def with_dynamic(m: InstanceMetadata, config: Config, world: World) -> InstanceMetadata:
    """The same, with what all targets say of it. Raises ``Unavailable`` where one fails and that is fatal."""
    known = targets(config)
    if not known:
        return m
    told = msgspec.json.encode(_about(m, config))
    async with ClientSession(connector=TCPConnector(limit=CONNECTIONS, ssl=world.trust)) as session:
        answers = await asyncio.gather(*(_asked(session, name, url, told, m.uuid, config) for name, url in known.items()))
    return msgspec.structs.replace(m, dynamic=dict(zip(known, answers, strict=True)))


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


async def _asked(session: ClientSession, name: str, url: str, told: bytes, server: str, config: Config) -> Any:
    timeout = ClientTimeout(total=config.metadata.vendor_data_seconds)
    try:
        async with session.post(url, data=told, headers=HEADERS, timeout=timeout, allow_redirects=False) as response:
            body = await _bounded(response.content)
            if response.status not in GOOD:
                raise ValueError(f"it answered {response.status}")
            return msgspec.json.decode(body) if body else {}
    except (ClientError, OSError, TimeoutError, ValueError, RecursionError) as error:
        logger.warning("vendor_data.failed", target=name, server=server, error=plain(error)[:300])
        if config.metadata.vendor_data_fatal:
            raise Unavailable(f"The vendor data service {name} does not answer as it should.") from None
        return {}


async def _bounded(content: Any) -> bytes:
    """All of an answer. Raises ``ValueError`` for one that is too long."""
    body = b""
    async for piece in content.iter_chunked(2**16):
        body += piece
        if len(body) > ANSWER_BYTES:
            raise ValueError(f"it answered with more than {ANSWER_BYTES} octets")
    return body
