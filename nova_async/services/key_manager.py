"""A key manager (Barbican), as far as we read what it keeps."""

from collections.abc import Awaitable, Callable

from nova_async.services.client import ServiceClient, TokenSource
from nova_async.world import World


class Barbican:
    """``url``: its endpoint, with or without ``/v1``, or how to find it. Made without I/O; ``close`` it."""

    def __init__(self, url: str | Callable[[], Awaitable[str]], own: TokenSource, world: World) -> None:
        self._client = ServiceClient("key manager", url.rstrip("/").removesuffix("/v1") if isinstance(url, str) else url, world, own)

    async def close(self) -> None:
        await self._client.close()

    async def payload(self, secret_id: str, caller: str = "") -> bytes:
        """What a secret holds. ``secret_id`` is a UUID; ``caller``: the token of whoever it is read for, in place of ours.

        Raises ``NotFound``, ``Invalid`` for a secret that holds nothing, ``Forbidden`` and ``Unauthorized`` for whoever may not read it,
        ``Unavailable``.
        """
        accept = {"Accept": "application/octet-stream"}
        async with self._client.asked("GET", f"/v1/secrets/{secret_id}/payload", headers=accept, caller=caller) as response:
            return await self._client.body(response)
