"""Failures at chosen moments: the n-th call of anything that is wired raises, with secrets in what the exception holds."""

import base64
import functools
import io
import logging
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest
import structlog
from aiohttp import ClientResponseError, RequestInfo
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from nova_async import log

PASSWORD = "Pa55w0rd-of-a-guest"
USER_DATA = base64.b64encode(b"#!/bin/sh\nexport KEY=u53r-data").decode()
FILE = base64.b64encode(b"f1le-of-the-user").decode()
CANARIES = (PASSWORD, USER_DATA, "u53r-data", FILE, "f1le-of-the-user")
Make = Callable[[str, Any], Exception]


@pytest.fixture
def output() -> Iterator[io.StringIO]:
    """All that is logged, at the most talkative level."""
    before, stream = structlog.get_config(), io.StringIO()
    handler = logging.StreamHandler(stream)
    log.configure("debug", "json", stream)
    logging.root.addHandler(handler)
    yield stream
    logging.root.removeHandler(handler)
    structlog.configure(**before)


class Fuse:
    """Blows at the ``left``-th call from now (None: never); ``blown`` is the call, once it has."""

    def __init__(self) -> None:
        self.left: int | None = None
        self.blown = ""
        self.make: Make | None = None

    def set(self, left: int, make: Make | None = None) -> None:
        self.left, self.blown, self.make = left, "", make

    def off(self) -> None:
        self.left = None

    def burn(self, what: str, args: Any, make: Make) -> None:
        if self.left is None:
            return
        self.left -= 1
        if self.left == 0:
            self.left, self.blown = None, what
            raise (self.make or make)(what, args)

    def wire(self, service: Any, make: Make) -> None:
        """All methods of an object, from now on."""
        for name in dir(type(service)):
            method = getattr(service, name, None)
            if not name.startswith("_") and callable(method) and not isinstance(method, type):
                setattr(service, name, self._wired(f"{type(service).__name__}.{name}", method, make))

    def _wired(self, what: str, method: Callable[..., Any], make: Make) -> Callable[..., Any]:
        @functools.wraps(method)
        def call(*args: Any, **options: Any) -> Any:
            self.burn(what, (args, options), make)
            return method(*args, **options)

        return call

    def wire_database(self, database: Any, make: Make) -> None:
        """All statements."""
        pool = database.pool

        async def acquire() -> Any:
            return _Connection(await pool.acquire(), self, make)

        database.pool = SimpleNamespace(
            acquire=acquire, release=lambda conn: pool.release(conn.real), close=pool.close, terminate=pool.terminate
        )


class _Connection:
    def __init__(self, real: Any, fuse: Fuse, make: Make) -> None:
        self.real, self._fuse, self._make = real, fuse, make

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.real, name)
        if name not in ("fetch", "fetchrow", "fetchval", "execute", "executemany"):
            return found

        async def statement(sql: str, *args: Any, **options: Any) -> Any:
            self._fuse.burn(sql.split("\n")[0][:80], args, self._make)
            return await found(sql, *args, **options)

        return statement


def request_with(**headers: str) -> Make:
    """As aiohttp raises for an answer that is none: with the request, headers and all."""
    sent = CIMultiDictProxy(CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()}))
    url = URL("http://service.test/v1")

    def make(*_: Any) -> Exception:
        return ClientResponseError(RequestInfo(url, "POST", sent, url), (), status=400, message="Bad status line")

    return make


def bytes_with(secret: str) -> Make:
    """As Python raises for what is no text: with all of it."""
    return lambda *_: UnicodeDecodeError("utf-8", b"\xff" + secret.encode(), 0, 1, "invalid start byte")


def row_of(_: str, args: Any) -> Exception:
    """As PostgreSQL refuses a row that breaks a rule: with the row."""
    error = asyncpg.CheckViolationError('new row for relation "things" violates check constraint "things_check"')
    error.detail = f"Failing row contains {args!r}."
    return error


def call_of(what: str, args: Any) -> Exception:
    """As careless code raises: with what it was called with."""
    return RuntimeError(f"{what} failed: {args!r}")
