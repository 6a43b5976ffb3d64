"""What ``up``, ``serve`` and ``compute`` share: an event loop, signals, and errors in one line."""

import asyncio
import gc
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from nova_async.errors import Error

if TYPE_CHECKING:
    from nova_async.app import App
    from nova_async.config import Config

T = TypeVar("T")


def run(work: Callable[[asyncio.Event], Awaitable[Any]]) -> None:
    """Run ``work(stop)``; ``stop`` is set by SIGINT or SIGTERM. Ends the process with status 1 and one line when it cannot start."""
    try:
        _runner()(_until_stopped(work))
    except KeyboardInterrupt:
        sys.exit(130)
    except BaseExceptionGroup as group:
        errors = [e for e in _leaves(group) if isinstance(e, Error)]
        if not errors:
            raise
        _refuse(errors[0])
    except Error as error:
        _refuse(error)


def run_service(work: Callable[[asyncio.Event], Awaitable[Any]]) -> None:
    """``run`` for work that calls ``serve_until``: while it loads, Python does not look for garbage among what it loads."""
    gc.disable()
    run(work)


async def serve_until(app: "App", stop: asyncio.Event, read: Callable[[], "Config"]) -> None:
    """Wait for ``stop``, or for the program's own end; SIGHUP lets it read again what may change while it runs.

    What is loaded by now stays, and is not looked through for garbage again.
    ``read`` reads the configuration once more. At a terminal that signal says that the terminal is gone, and ends the program.
    """
    gc.freeze()
    gc.enable()
    gc.set_threshold(20_000, 20, 20)  # a list of 1,000 servers is as many dicts, none of them garbage: a third of its time was this look
    asked, loop = asyncio.Event(), asyncio.get_running_loop()
    if not sys.stdin.isatty():
        loop.add_signal_handler(signal.SIGHUP, asked.set)
    reloading = asyncio.create_task(_reload_when(asked, app, read), name="reload")
    try:
        await app.until(stop)
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
        reloading.cancel()


async def _reload_when(asked: asyncio.Event, app: "App", read: Callable[[], "Config"]) -> None:
    while True:
        await asked.wait()
        asked.clear()
        await app.reload(read)


def run_or_refuse(work: Callable[[], T]) -> T:
    """The result of ``work``; ends the process with one line when it raises one of our errors."""
    try:
        return work()
    except Error as error:
        _refuse(error)


def _refuse(error: Error) -> NoReturn:
    print(f"nova-async: {error.message}" + (f" [{error.detail}]" if error.detail else ""), file=sys.stderr)
    sys.exit(1)


def _leaves(group: BaseExceptionGroup[Any]) -> list[BaseException]:
    return [leaf for e in group.exceptions for leaf in (_leaves(e) if isinstance(e, BaseExceptionGroup) else [e])]


def _runner() -> Callable[..., Any]:
    try:
        import uvloop
    except ImportError:
        return asyncio.run
    return uvloop.run


async def _until_stopped(work: Callable[[asyncio.Event], Awaitable[Any]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await work(stop)
