"""Logs are events with keys: ``log.info("guest.spawned", seconds=3.1)``.

Request id, server, workflow and step are bound once per task with ``bound(...)``; every event in
that task then carries them.
"""

import logging
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import structlog

SECRET_KEYS = frozenset({"password", "adminpass", "admin_pass", "token", "secret", "private_key", "x-auth-token", "authorization"})


def get(name: str) -> Any:
    return structlog.get_logger(component=name)


@contextmanager
def bound(**keys: Any) -> Iterator[None]:
    """Bind keys to every event logged inside, in this task and the tasks it starts."""
    tokens = structlog.contextvars.bind_contextvars(**keys)
    try:
        yield
    finally:
        structlog.contextvars.reset_contextvars(**tokens)


def request_id() -> str:
    """The request id that is bound in this task; empty outside of requests and workflows."""
    return str(structlog.contextvars.get_contextvars().get("request_id") or "")


def configure(level: str = "info", form: str = "text", stream: Any = None) -> None:
    """Set up the process's log once. ``form`` is ``text`` or ``json``."""
    renderer: Any = structlog.processors.JSONRenderer() if form == "json" else structlog.dev.ConsoleRenderer(colors=False)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _mask_secrets,
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=_from(level),
        logger_factory=structlog.WriteLoggerFactory(file=stream or sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=logging.WARNING, stream=stream or sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("asyncpg.pool").setLevel(logging.ERROR)  # while the database is away, whoever needs it says so
    logging.getLogger("oslo_policy").setLevel(logging.CRITICAL)  # a file that it does not understand is refused by us, in one line
    logging.getLogger("aiohttp.server").addFilter(_in_our_words)


def set_level(level: str) -> None:
    """From now on log events of this level and above; for a process that runs already."""
    structlog.configure(wrapper_class=_from(level))


def _from(level: str) -> Any:
    return structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()])


def _in_our_words(record: logging.LogRecord) -> bool:
    """Anybody can send bytes that are no request: one line, without the bytes (there may be a token in them)."""
    from aiohttp.http_exceptions import HttpProcessingError  # loaded by then; the log is wanted long before
    from aiohttp.web_protocol import RequestPayloadError

    error = record.exc_info[1] if record.exc_info else None
    if not isinstance(error, HttpProcessingError | RequestPayloadError):
        return True
    get("http").info("request.unreadable", reason=type(error).__name__)
    return False


def _mask_secrets(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key in event:
        if key.lower() in SECRET_KEYS:
            event[key] = "***"
    return event
