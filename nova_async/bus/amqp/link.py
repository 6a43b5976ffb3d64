"""One connection to the broker that is always being made again."""

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from typing import Any, cast

import aio_pika
from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import CONNECTION_EXCEPTIONS, AuthenticationError, ProbableAuthenticationError
from yarl import URL

from nova_async import log
from nova_async.bus.delivery import within
from nova_async.errors import Invalid, Unavailable
from nova_async.world import World

BROKEN = CONNECTION_EXCEPTIONS  # what aio-pika raises when a connection or channel is gone; holds TimeoutError too
CONNECT_SECONDS = 10.0
CLOSE_SECONDS = 3.0
RECONNECT_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)  # the last repeats; half of each is drawn at random
STEADY_SECONDS = 10.0  # a connection that lived as long starts the back-off anew
HEARTBEAT_SECONDS = 10

_log = log.get("bus")


class Link:
    """Keeps a connection open. Whoever finds it dead says ``suspect`` and asks for the next one."""

    def __init__(self, url: str, world: World, purpose: str) -> None:
        self._url = with_defaults(url, purpose)
        self._world = world
        self._purpose = purpose
        self._connection: AbstractConnection | None = None
        self._up = asyncio.Event()
        self._lost = asyncio.Event()
        self._refused: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._supervise(), name=f"bus link {purpose}")

    @property
    def broker(self) -> str:
        """Where the broker is, without the password."""
        return f"{self._url.host}:{self._url.port or ''}"

    async def connection(self) -> AbstractConnection:
        """The present connection; waits for as long as there is none."""
        while self._connection is None:
            await self._up.wait()
        return self._connection

    async def first(self, seconds: float) -> None:
        """Wait for the first connection. Raises ``Unavailable``; at once when the broker refuses who we are."""
        up = asyncio.ensure_future(self._up.wait())
        try:
            await within(self._world, seconds, asyncio.wait((up, self._refused), return_when=asyncio.FIRST_COMPLETED))
        except TimeoutError:
            raise Unavailable(f"The message broker at {self.broker} does not answer. Check bus.url.") from None
        finally:
            up.cancel()
        if self._refused.done():
            raise Unavailable(f"The message broker at {self.broker} refused the user, password or virtual host in bus.url.")

    def is_present(self, connection: AbstractConnection) -> bool:
        return connection is self._connection

    def suspect(self, connection: AbstractConnection, why: str) -> None:
        """Give this connection up; nothing happens when it is not the present one any more."""
        if connection is self._connection and not self._lost.is_set():
            _log.warning("bus.suspected", broker=self.broker, purpose=self._purpose, why=why)
            self._lost.set()

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.wait((self._task,), timeout=CLOSE_SECONDS + 1)
        self._refused.cancel()

    async def _supervise(self) -> None:
        failures = 0
        while True:
            try:
                connection = await within(self._world, CONNECT_SECONDS, aio_pika.connect(self._url))
            except BROKEN as error:
                self._note_refusal(error)
            else:
                began = self._world.monotonic()
                await self._hold(connection)
                if self._world.monotonic() - began > STEADY_SECONDS:
                    failures = 0
            await self._world.sleep(back_off(self._world, failures))
            failures += 1

    def _note_refusal(self, error: BaseException) -> None:
        """A broker that is there and does not want us is another matter than one that is not there."""
        told = {"broker": self.broker, "purpose": self._purpose, "error": type(error).__name__}
        if isinstance(error, AuthenticationError | ProbableAuthenticationError):
            _log.error("bus.refused", **told, remedy="the broker knows no such user: a wrong password, or a certificate that was revoked")
            if not self._refused.done():
                self._refused.set_result(type(error).__name__)
        elif (reason := tls_reason(error)) is not None:
            _log.error("bus.refused", **told, reason=reason, remedy="see the certificates of both sides: expired, or of another authority?")
        else:
            _log.info("bus.not_connected", **told)

    async def _hold(self, connection: AbstractConnection) -> None:
        """Lend the connection out until it is lost."""
        self._lost.clear()
        connection.close_callbacks.add(self._on_close)
        if connection.connected.is_set():
            self._connection = connection
            self._up.set()
            _log.info("bus.connected", broker=self.broker, purpose=self._purpose)
        else:
            self._lost.set()
        try:
            await self._lost.wait()
            _log.warning("bus.disconnected", broker=self.broker, purpose=self._purpose)
        finally:
            self._up.clear()
            self._connection = None
            await quietly(self._world, connection.close)

    def _on_close(self, *_: Any) -> None:
        self._lost.set()


def with_defaults(url: str, purpose: str) -> URL:
    """Raises ``Invalid`` for what is no AMQP URL."""
    parsed = URL(url)
    if parsed.scheme not in ("amqp", "amqps") or not parsed.host:
        raise Invalid("bus.url has to look like amqp://user:password@host:port/vhost (or amqps://).")
    return parsed.with_query({"heartbeat": str(HEARTBEAT_SECONDS), "name": f"nova_async {purpose}", **parsed.query})


def tls_reason(error: BaseException) -> str | None:
    """What OpenSSL says was wrong with the handshake; None when it was not that."""
    seen: list[BaseException] = []
    present: BaseException | None = error
    while present is not None and present not in seen:  # aiormq's errors may be their own causes
        if isinstance(present, ssl.SSLError):
            return present.reason or type(present).__name__
        seen.append(present)
        present = present.__cause__ or present.__context__
    return None


def is_blocked(connection: AbstractConnection) -> bool:
    """Whether the broker, short of memory or disk, has told us that it reads nothing from this connection.

    aiormq knows, and only tells by making ``ready`` wait; here that is asked without waiting.
    """
    if connection.transport is None:
        return False
    ready = cast("Coroutine[Any, Any, Any]", connection.transport.ready())
    try:
        ready.send(None)
    except StopIteration:
        return False
    ready.close()
    return True


def back_off(world: World, failures: int) -> float:
    longest = RECONNECT_SECONDS[min(failures, len(RECONNECT_SECONDS) - 1)]
    return longest * world.random.uniform(0.5, 1.0)


async def quietly(world: World, close: Callable[[], Any]) -> None:
    """Close what may be broken already, and do not wait for long."""
    try:
        await within(world, CLOSE_SECONDS, close())
    except BROKEN as error:
        _log.debug("bus.close_failed", error=type(error).__name__)
