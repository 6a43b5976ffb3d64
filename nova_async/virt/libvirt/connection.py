"""The way to libvirt: its blocking library in threads of our own, deadlines, events, and reconnection.

No other module calls libvirt on a connection of its own; they pass functions to ``Connection.call``.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import libvirt

from nova_async import log
from nova_async.errors import Conflict, Error, Interrupted, NoCapacity, NotFound, Unavailable, Unsupported
from nova_async.world import World

T = TypeVar("T")

CALL_SECONDS = 30.0
OPEN_SECONDS = 20.0
SETTLE_SECONDS = 5.0  # a cancelled call may take so long to end, so that what follows sees its effect
KEEPALIVE = (5, 6)  # seconds between probes, probes without an answer until the connection counts as lost
RETRY_SECONDS = (0.2, 10.0)  # first and longest wait between two tries to connect

KINDS: dict[int, type[Error]] = {
    libvirt.VIR_ERR_NO_DOMAIN: NotFound,
    libvirt.VIR_ERR_OPERATION_INVALID: Conflict,
    libvirt.VIR_ERR_DOM_EXIST: Conflict,
    libvirt.VIR_ERR_NO_SUPPORT: Unsupported,
    libvirt.VIR_ERR_CONFIG_UNSUPPORTED: Unsupported,
    libvirt.VIR_ERR_OPERATION_UNSUPPORTED: Unsupported,
    libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED: Unsupported,
    libvirt.VIR_ERR_OPERATION_TIMEOUT: Unavailable,
    libvirt.VIR_ERR_NO_CONNECT: Unavailable,
    libvirt.VIR_ERR_INVALID_CONN: Unavailable,
    libvirt.VIR_ERR_RPC: Unavailable,
    libvirt.VIR_ERR_NO_MEMORY: NoCapacity,
}
MESSAGES: dict[type[Error], str] = {
    NotFound: "The hypervisor knows no such guest.",
    Conflict: "The guest's state at the hypervisor forbids this.",
    Unsupported: "The hypervisor does not support this.",
    Unavailable: "The hypervisor does not answer.",
    NoCapacity: "The host has not enough memory for the guest.",
    Error: "The hypervisor could not do this.",
}
LOST = frozenset({libvirt.VIR_ERR_NO_CONNECT, libvirt.VIR_ERR_INVALID_CONN, libvirt.VIR_ERR_RPC})

log_ = log.get("virt.libvirt")


class Connection:
    """One connection at a time, opened anew whenever it is lost.

    ``find_uri`` is asked before every opening; ``lifecycle(uuid, event, detail)`` is called in the loop for
    each of libvirt's lifecycle events, ``opened`` after every opening: events may have been missed before.
    """

    def __init__(
        self,
        find_uri: Callable[[], Awaitable[str]],
        threads: int,
        world: World,
        *,
        lifecycle: Callable[[str, int, int], None],
        opened: Callable[[], Awaitable[None]],
    ) -> None:
        self._find_uri = find_uri
        self._world = world
        self._lifecycle = lifecycle
        self._opened = opened
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="libvirt")
        self._connection: libvirt.virConnect | None = None
        self._ready = asyncio.Event()
        self._reopening: asyncio.Task[None] | None = None
        self._closed = False

    async def open(self) -> None:
        """Raises ``Unavailable``."""
        self._loop = asyncio.get_running_loop()
        _run_libvirt_events()
        uri = await self._find_uri()
        opening = self._loop.run_in_executor(self._threads, self._open, uri)
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                self._connection = await asyncio.shield(opening)
        except TimeoutError:
            opening.add_done_callback(self._too_late)
            raise Unavailable(f"libvirt at {uri} does not answer.") from None
        except libvirt.libvirtError as error:
            raise Unavailable(f"libvirt at {uri} cannot be reached.", detail=str(error)) from None
        self._ready.set()
        await self._opened()

    async def open_at_last(self) -> None:
        """However long it takes; what hinders it stands in the log."""
        self._loop = asyncio.get_running_loop()
        await self._reopen()

    async def call(self, work: Callable[[libvirt.virConnect], T], *, deadline: float = CALL_SECONDS) -> T:
        """Run ``work`` in a thread. Raises the error kinds that ``virt.driver`` names."""
        started = self._loop.time()
        try:
            async with asyncio.timeout(deadline):
                await self._ready.wait()
            connection = self._connection
            assert connection is not None
            return await self._run(self._threads.submit(work, connection), deadline - (self._loop.time() - started))
        except TimeoutError:
            raise Unavailable(MESSAGES[Unavailable], detail=f"no answer within {deadline} s") from None
        except libvirt.libvirtError as error:
            if error.get_error_code() in LOST or error.get_error_domain() == libvirt.VIR_FROM_RPC:
                self._lost(connection)
                raise Interrupted(MESSAGES[Unavailable], detail=str(error)) from None
            raise translated(error) from None

    async def close(self) -> None:
        self._closed = True
        self._ready.clear()
        if self._reopening:
            self._reopening.cancel()
            await asyncio.wait([self._reopening], timeout=SETTLE_SECONDS)
        if self._connection is not None:
            closing = self._loop.run_in_executor(self._threads, _close, self._connection)
            await asyncio.wait([closing], timeout=SETTLE_SECONDS)
            self._connection = None
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: "Future[T]", deadline: float) -> T:
        """The result of ``work``; what no thread has taken up by the deadline, or when we are cancelled, never starts."""
        running = asyncio.wrap_future(work)
        try:
            done, _ = await asyncio.wait([running], timeout=deadline)
        except asyncio.CancelledError:
            if not work.cancel():
                await asyncio.wait([running], timeout=SETTLE_SECONDS)
            raise
        if not done:
            running.cancel()
            raise TimeoutError
        return running.result()

    def _open(self, uri: str) -> libvirt.virConnect:
        connection = libvirt.open(uri)
        wishes: tuple[Callable[[], Any], ...] = (  # not every hypervisor tells of its guests or of its end
            lambda: connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._on_lifecycle, None),
            lambda: connection.registerCloseCallback(self._on_close, None),
            lambda: connection.setKeepAlive(*KEEPALIVE),
        )
        for wish in wishes:
            try:
                wish()
            except libvirt.libvirtError as error:
                if error.get_error_code() not in (libvirt.VIR_ERR_NO_SUPPORT, libvirt.VIR_ERR_OPERATION_UNSUPPORTED):
                    raise
        return connection

    def _too_late(self, opening: "asyncio.Future[libvirt.virConnect]") -> None:
        if not opening.cancelled() and opening.exception() is None:
            self._loop.run_in_executor(self._threads, _close, opening.result())

    def _on_lifecycle(self, _: Any, domain: libvirt.virDomain, event: int, detail: int, __: Any) -> None:
        self._soon(self._lifecycle, domain.UUIDString(), event, detail)

    def _on_close(self, connection: libvirt.virConnect, _: int, __: Any) -> None:
        self._soon(self._lost, connection)

    def _soon(self, function: Callable[..., None], *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            pass  # the loop has ended before libvirt's thread knew

    def _lost(self, connection: libvirt.virConnect | None) -> None:
        if self._closed or self._connection is None or connection is not self._connection:
            return
        log_.warning("libvirt.lost")
        self._connection = None
        self._ready.clear()
        self._loop.run_in_executor(self._threads, _close, connection)
        if self._reopening is None or self._reopening.done():
            self._reopening = asyncio.create_task(self._reopen(), name="libvirt-reopen")

    async def _reopen(self) -> None:
        wait, longest = RETRY_SECONDS
        while not self._ready.is_set():
            try:
                await self.open()
                log_.info("libvirt.opened")
            except Error as error:
                log_.warning("libvirt.unreachable", error=error.message, detail=error.detail)
                await self._world.sleep(wait * (0.5 + self._world.random.random()))
                wait = min(wait * 2, longest)


def translated(error: libvirt.libvirtError) -> Error:
    """One of our kinds for an error of libvirt; its own text is for operators only."""
    text = str(error)
    kind = KINDS.get(error.get_error_code(), Error)
    if "cannot set up guest memory" in text or "Cannot allocate memory" in text:
        kind = NoCapacity
    if "No more available PCI slots" in text:
        return NoCapacity("The guest has no free slot for another device; it has more after it was shut down and started.", detail=text)
    return kind(MESSAGES[kind], detail=text)


def _close(connection: libvirt.virConnect) -> None:
    try:
        connection.close()
    except libvirt.libvirtError:
        pass


# libvirt has one event loop per process, and it must be there before the first connection.
_events_lock = threading.Lock()
_events_thread: threading.Thread | None = None


def _run_libvirt_events() -> None:
    global _events_thread
    with _events_lock:
        if _events_thread is None:
            libvirt.registerErrorHandler(lambda *_: None, None)
            libvirt.virEventRegisterDefaultImpl()
            _events_thread = threading.Thread(target=_events, name="libvirt-events", daemon=True)
            _events_thread.start()


def _events() -> None:
    while True:
        libvirt.virEventRunDefaultImpl()
