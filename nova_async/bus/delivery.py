"""What both buses do alike: bounds and deadlines, how often a message is tried, how an error crosses the wire."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from nova_async import errors, log
from nova_async.bus import Handler
from nova_async.bus.messages import Failed, Message, encode
from nova_async.world import World

FRAME_LIMIT = 4 * 2**20  # octets in one message
WAITING_LIMIT = 10_000  # messages kept for one subscriber, or in process for one target
CAST_SECONDS = 10.0  # how long a message waits for room or for the broker before ``Unavailable``
HANDLER_SECONDS = 60.0  # longer work is cancelled and counts as a failed try
GRACE_SECONDS = 10.0  # what handlers in hand get when their service closes
RETRY_SECONDS = (0.1, 0.5, 2.0, 8.0)  # waits after the first, second ... failure; the last repeats

T = TypeVar("T")
_log = log.get("bus")


def sealed(message: Message) -> bytes:
    """The frame of a message. Raises ``TooLarge``."""
    return checked(encode(message))


def checked(frame: bytes) -> bytes:
    if len(frame) > FRAME_LIMIT:
        raise errors.TooLarge(f"A message of {len(frame)} octets is larger than the bus takes ({FRAME_LIMIT}).")
    return frame


def retry_delay(world: World, tries: int) -> float:
    """Seconds to wait after the ``tries``-th failure, half of it drawn at random."""
    return RETRY_SECONDS[retry_level(tries)] * world.random.uniform(0.5, 1.0)


def retry_level(tries: int) -> int:
    return min(tries, len(RETRY_SECONDS)) - 1


def failed(error: Exception) -> Failed:
    """What a caller may learn of an error; only our own errors have public text."""
    if isinstance(error, errors.Error):
        return Failed(kind=type(error).__name__, message=error.message)
    return Failed(kind=errors.Error.__name__, message=errors.Error.default)


def raised(answer: Failed) -> errors.Error:
    """The error that a ``Failed`` stands for; a kind that this release does not know is a plain ``Error``."""
    kind = getattr(errors, answer.kind, errors.Error)
    known = isinstance(kind, type) and issubclass(kind, errors.Error)
    return kind(answer.message) if known else errors.Error(answer.message)


def reason(error: Exception) -> str:
    """Why a message was parked, in words that may be stored: no text of foreign exceptions."""
    name = type(error).__name__
    return f"{name}: {error.message}" if isinstance(error, errors.Error) else name


def log_failure(event: str, error: Exception, **keys: Any) -> None:
    """Our own errors are told in a line; a foreign one is a bug and comes with its traceback."""
    ours = isinstance(error, errors.Error)
    _log.warning(event, reason=reason(error), exc_info=None if ours else error, **keys)


async def within(world: World, seconds: float, work: Awaitable[T]) -> T:
    """Wait for ``work`` at most ``seconds`` on the world's clock.

    Raises ``TimeoutError``, having cancelled the work; ``ConnectionAbortedError`` when someone
    else cancelled it.
    """
    task = asyncio.ensure_future(work)
    alarm = asyncio.ensure_future(world.sleep(seconds))
    try:
        await asyncio.wait((task, alarm), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise TimeoutError
        if task.cancelled():
            raise ConnectionAbortedError("cancelled from below")
        return task.result()
    finally:
        alarm.cancel()
        if not task.done():
            task.add_done_callback(_look_at)
            task.cancel()


def _look_at(task: "asyncio.Future[Any]") -> None:
    """An abandoned task may fail unheard."""
    if not task.cancelled():
        task.exception()


class Hands:
    """The handlers at work for one receiver: at most ``limit`` at once, none longer than ``HANDLER_SECONDS``."""

    def __init__(self, world: World, name: str, limit: int, on_free: Callable[[], None] = lambda: None) -> None:
        self._world = world
        self._name = name
        self._limit = limit
        self._on_free = on_free
        self._since: dict[asyncio.Task[None], float] = {}
        self._overdue: set[asyncio.Task[Any]] = set()
        self._watch: asyncio.Task[None] | None = None

    @property
    def busy(self) -> int:
        return len(self._since)

    @property
    def free(self) -> bool:
        return len(self._since) < self._limit

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run ``work`` as a task that inherits no log keys from whoever sent the message."""
        task = asyncio.get_running_loop().create_task(work, name=self._name, context=contextvars.Context())
        self._since[task] = self._world.monotonic()
        task.add_done_callback(self._done)
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._cancel_overdue(), name=f"{self._name} deadline")

    async def attempt(self, handler: Handler, message: Message) -> Message | None:
        """Run the handler in the present task. Raises ``TimeoutError`` when it took too long."""
        try:
            return await handler(message)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task in self._overdue:
                task.uncancel()
                raise TimeoutError from None
            raise

    async def finish(self, seconds: float = GRACE_SECONDS) -> None:
        """Let those in hand end; cancel what is left after ``seconds``."""
        pending = set(self._since)
        if pending:
            try:
                await within(self._world, seconds, asyncio.wait(pending))
            except TimeoutError:
                _log.warning("bus.handlers_cancelled", receiver=self._name, count=len(self._since))
                await self._cancel_all()
        if self._watch is not None:
            self._watch.cancel()

    async def _cancel_all(self) -> None:
        left = set(self._since)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=1)

    def _done(self, task: asyncio.Task[None]) -> None:
        del self._since[task]
        self._overdue.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("bus.delivery_failed", receiver=self._name, error=type(error).__name__, exc_info=error)
        self._on_free()

    async def _cancel_overdue(self) -> None:
        """Runs only while there is work in hand."""
        while self._since:
            await self._world.sleep(HANDLER_SECONDS / 4)
            limit = self._world.monotonic() - HANDLER_SECONDS
            for task in [task for task, since in self._since.items() if since <= limit and task not in self._overdue]:
                self._overdue.add(task)
                task.cancel()
