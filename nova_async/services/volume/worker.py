"""How a worker learns the ways to volumes: with the service's own rights, whoever runs the volume service."""

import ssl
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector

from nova_async.errors import NotFound, Unavailable, Unsupported
from nova_async.services.client import TokenSource

DEADLINE = ClientTimeout(total=30, sock_connect=5)
VERSION = "volume 3.44"


class RemoteConnections:
    """A ``VolumeFetcher`` over Cinder's attachments API. ``url`` is the endpoint, with or without ``/v3``; ``trust`` as in ``World``."""

    def __init__(self, url: str, tokens: TokenSource, trust: ssl.SSLContext | bool = True) -> None:
        self._trust = trust
        self._url = f"{url.rstrip('/').removesuffix('/v3')}/v3"
        self._tokens = tokens
        self._session: ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def connection(self, attachment_id: str) -> dict[str, Any]:
        """Raises ``NotFound``, ``Unsupported`` (the service says that this host cannot reach it), ``Unavailable``."""
        if self._session is None:
            self._session = ClientSession(timeout=DEADLINE, connector=TCPConnector(ssl=self._trust))
        token = await self._tokens.token()
        headers = {"X-Auth-Token": token, "X-Service-Token": token, "OpenStack-API-Version": VERSION}
        try:
            async with self._session.get(f"{self._url}/attachments/{attachment_id}", headers=headers) as response:
                if response.status == 404:
                    raise NotFound(f"The volume service has no attachment {attachment_id}.")
                if response.status == 501:
                    raise Unsupported("The volume service has no way to this volume for this host.")
                if response.status != 200:
                    raise Unavailable("The volume service does not answer as it should.", detail=f"HTTP {response.status}")
                body: dict[str, Any] = await response.json()
        except (ClientError, TimeoutError, OSError) as error:
            raise Unavailable("The volume service does not answer.", detail=repr(error)) from None
        data = dict(body["attachment"]["connection_info"])
        return {"driver_volume_type": str(data.pop("driver_volume_type", "")), "data": data}
