"""HTTP to a service of somebody else's: one client for Keystone, Glance, Neutron, Cinder, Barbican and Ironic.

| what | how |
|---|---|
| deadline | every question has one; a transfer lives as long as bytes flow |
| repeats | what may be asked twice is asked up to ``TRIES`` times, after pauses that grow; the rest only where nothing was sent |
| our token | renewed once where the service does not take it any more; beside a caller's it says that a service asks on their behalf |
| request id | that of the request or workflow which asks goes along, so that both logs tell of it under one name |
| breaker | a service that did not answer ``BREAK_AFTER`` times in a row is left alone for a while; then one question tries it |

Redirects are not followed: the token goes nowhere else.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

import msgspec
from aiohttp import ClientConnectorError, ClientError, ClientPayloadError, ClientResponse, ClientSession, ClientTimeout, TCPConnector

from nova_async import errors, log
from nova_async.services.breaker import Breaker
from nova_async.world import World

TRIES = 4  # of what may be repeated
FIRST_PAUSE = 0.2  # seconds; doubled each time
QUESTION = ClientTimeout(total=30, sock_connect=5)
TRANSFER = ClientTimeout(total=None, sock_connect=5, sock_read=60)  # as long as bytes flow
CONNECTIONS = 64
ANSWER_BYTES = 8 * 2**20
FAULT_BYTES = 65_536
REPEATABLE = frozenset({"GET", "HEAD", "PUT", "DELETE"})
AWAY = frozenset({408, 429, 502, 503, 504})  # nobody can serve now; 500 is an answer, if a bad one
DONE = frozenset({200, 201, 202, 203, 204, 206})

MEANING: dict[int, type[errors.Error]] = {
    400: errors.Invalid,
    403: errors.Forbidden,
    404: errors.NotFound,
    409: errors.Conflict,
    410: errors.Gone,
    413: errors.TooLarge,
    415: errors.Invalid,
    416: errors.Invalid,
    501: errors.Unsupported,
}


class TokenSource(Protocol):
    async def token(self) -> str:
        """A valid token of our own; raises ``Unavailable``."""
        ...

    def forget(self, token: str) -> None:
        """A service refused this token."""
        ...


class ServiceClient:
    """``name`` is what messages call the service; ``url`` its address, or how to find it. Made without I/O; ``close`` it.

    ``as_service``: it does for services what it does for nobody else, and is shown our token as a service's, too.
    """

    def __init__(
        self,
        name: str,
        url: str | Callable[[], Awaitable[str]],
        world: World,
        tokens: TokenSource | None = None,
        *,
        as_service: bool = False,
    ) -> None:
        self.name, self._as_service = name, as_service
        self._url, self._world, self._tokens = url, world, tokens
        self._breaker = Breaker(world)
        self._session: ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """The JSON object of an answer, or {} of one without a body. Raises as ``asked``."""
        async with self.asked(method, path, **options) as response:
            body = await self.body(response)
        if not body:
            return {}
        try:
            return msgspec.json.decode(body, type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise errors.Unavailable(f"The {self.name} service answered in a form that is not known.", detail=str(error)) from None

    async def body(self, response: ClientResponse) -> bytes:
        """All of a short answer. Raises ``Unavailable``, also for one that is not short."""
        try:
            return await _bounded(response, ANSWER_BYTES)
        except (ClientError, OSError, TimeoutError) as error:
            raise self._silent(error) from None

    @asynccontextmanager
    async def asked(self, method: str, path: str, **options: Any) -> AsyncIterator[ClientResponse]:
        """The response to what was done; a refusal as the kind of error that it means, else ``Unavailable``.

        ``Unauthorized`` only of a caller's token.
        """
        async with self.answered(method, path, **options) as response:
            if response.status == 401 and options.get("caller"):
                raise errors.Unauthorized()
            if response.status not in DONE:
                raise await self._refusal(response)
            yield response

    @asynccontextmanager
    async def answered(
        self,
        method: str,
        path: str,
        *,
        repeat: bool | None = None,
        headers: dict[str, str] | None = None,
        timeout: ClientTimeout = QUESTION,
        caller: str = "",
        **options: Any,
    ) -> AsyncIterator[ClientResponse]:
        """Whatever the service says, unless that it cannot: then ``Unavailable``, after repeats.

        ``caller``: the token of whoever it is asked for, in place of ours.
        ``repeat`` says whether it may be asked again; by default as HTTP has it. What the block raises is not repeated.
        """
        may_repeat = method in REPEATABLE if repeat is None else repeat
        ends = self._world.monotonic() + timeout.total if timeout.total else float("inf")  # for all tries together
        renewed = False
        number = 1
        while True:
            own = await self._tokens.token() if self._tokens else ""
            asked = await self._ask(method, path, self._headers(own, caller, headers), timeout, options)
            try:
                response = await asked.__aenter__()
            except (ClientError, OSError, TimeoutError) as error:
                self._breaker.failed()
                if number == TRIES or self._world.monotonic() >= ends or not (may_repeat or isinstance(error, ClientConnectorError)):
                    raise self._silent(error) from None
            except BaseException:
                self._breaker.gave_up()
                raise
            else:
                self._breaker.failed() if response.status in AWAY else self._breaker.succeeded()
                in_time = number < TRIES and self._world.monotonic() < ends
                again = may_repeat and in_time and (response.status in AWAY or response.status == 500)
                if response.status == 401 and self._tokens:
                    self._tokens.forget(own)
                    if not renewed and isinstance(options.get("data", b""), bytes):
                        renewed = True
                        await asked.__aexit__(None, None, None)
                        continue
                if not again:
                    break
                await asked.__aexit__(None, None, None)
            await self._world.sleep(FIRST_PAUSE * 2 ** (number - 1) * (0.5 + self._world.random.random()))
            number += 1
        try:
            if (response.status >= 500 and response.status != 501) or response.status in AWAY:
                raise await self._refusal(response)
            yield response
        except (ClientError, OSError, TimeoutError) as error:
            raise self._silent(error) from None
        finally:
            await asked.__aexit__(None, None, None)

    async def _ask(
        self, method: str, path: str, headers: dict[str, str], timeout: ClientTimeout, options: dict[str, Any]
    ) -> AbstractAsyncContextManager[ClientResponse]:
        """A question that is not sent yet. Raises ``Unavailable`` while the service is left alone."""
        url = self._url if isinstance(self._url, str) else await self._url()
        if self._session is None:
            self._session = ClientSession(auto_decompress=False, connector=TCPConnector(limit=CONNECTIONS, ssl=self._world.trust))
        if not self._breaker.closed():
            raise errors.Unavailable(f"The {self.name} service does not answer.", detail="it did not lately; it is asked again soon")
        return self._session.request(method, url + path, headers=headers, timeout=timeout, allow_redirects=False, **options)

    def _headers(self, own: str, caller: str, headers: dict[str, str] | None) -> dict[str, str]:
        made = {"Accept": "application/json"}
        if own:
            made["X-Auth-Token"] = caller or own
            if self._as_service:
                made["X-Service-Token"] = own
        if request_id := log.request_id():
            made["X-Openstack-Request-Id"] = request_id
        return made | (headers or {})

    def _silent(self, error: BaseException) -> errors.Unavailable:
        return errors.Unavailable(f"The {self.name} service does not answer.", detail=errors.plain(error))

    async def _refusal(self, response: ClientResponse) -> errors.Error:
        text = message_in(await _bounded(response, FAULT_BYTES, cut=True))
        kind = MEANING.get(response.status)
        if kind is None:
            return errors.Unavailable(f"The {self.name} service does not answer as it should.", detail=f"{response.status}: {text}")
        return kind(text[:500] or None)


def versioned(url: str, version: str) -> str:
    """An endpoint with its version, whether it was given with it or without."""
    return f"{url.rstrip('/').removesuffix('/' + version)}/{version}"


def message_in(body: bytes) -> str:
    """What a fault says: ``{"message"}`` itself, or in the one object that wraps it; empty where there is none.

    Ironic's is JSON as the text of ``error_message``, and its words are ``faultstring``.
    """
    try:
        fault = msgspec.json.decode(body)
        if isinstance(fault, dict) and isinstance(fault.get("error_message"), str):
            fault = {"message": msgspec.json.decode(fault["error_message"])["faultstring"]}
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, LookupError, TypeError):
        return ""
    inner = next((v for v in fault.values() if isinstance(v, dict)), {}) if isinstance(fault, dict) else {}
    found = fault.get("message") or inner.get("message") if isinstance(fault, dict) else ""
    return found if isinstance(found, str) else ""


async def _bounded(response: ClientResponse, limit: int, *, cut: bool = False) -> bytes:
    """The whole body; longer than ``limit`` it is an error, or is cut."""
    body = bytearray()
    async for chunk in response.content.iter_chunked(65_536):
        body += chunk
        if len(body) > limit:
            if cut:
                break
            raise ClientPayloadError("answer too large")
    return bytes(body)
