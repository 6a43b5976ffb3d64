"""Passwords and secrets: argon2id in threads of its own, and patience that runs out for those who guess."""

import asyncio
import contextlib
import ctypes
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from nova_async.errors import Unauthorized, Unavailable
from nova_async.world import World

# The smallest of the settings that OWASP's password storage sheet recommends: 19 MiB, two passes; about 30 ms of one core.
TIME_COST = 2
MEMORY_KIB = 19_456
PARALLELISM = 1

M_MMAP_THRESHOLD, GIVEN_BACK_BYTES = -3, 4 * 2**20  # mallopt(3)
THREADS = 2
MAX_WAITING = 64
WAIT_SECONDS = 20.0
T = TypeVar("T")


class Passwords:
    """Hashes and checks; at most ``THREADS`` at once, ``MAX_WAITING`` in all. More is ``Unavailable``."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher(time_cost=TIME_COST, memory_cost=MEMORY_KIB, parallelism=PARALLELISM)
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="password")
        self._waiting = 0
        self._nobody: str | None = None
        _give_back()

    async def hash(self, password: str) -> str:
        return await self._run(lambda: self._hasher.hash(password))

    async def matches(self, hashed: str | None, password: str) -> bool:
        """Whether it is the one; as slow for a user who does not exist (``hashed`` None) as for one who does."""
        if hashed is None:
            self._nobody = self._nobody or await self.hash("nobody's password")
        target = hashed or self._nobody or ""
        return await self._run(lambda: self._verify(target, password)) and hashed is not None

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _verify(self, hashed: str, password: str) -> bool:
        try:
            return self._hasher.verify(hashed, password)
        except (Argon2Error, InvalidHashError):
            return False

    async def _run(self, work: Callable[[], T]) -> T:
        if self._waiting >= MAX_WAITING:
            raise Unavailable("Too many logins at once. Try again later.", retry_after=2)
        self._waiting += 1
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        except TimeoutError:
            raise Unavailable("Too many logins at once. Try again later.", retry_after=5) from None
        finally:
            self._waiting -= 1


def _give_back() -> None:
    """Let glibc return what a hash took: by itself it keeps blocks of that size for good once it has seen one."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, GIVEN_BACK_BYTES)


class Patience:
    """Counts failed logins per account and address. After ``FREE`` in a row the account answers that address only
    after a pause that doubles from one second to ``LONGEST``; after ``FREE_FROM_ANYWHERE``, any address but those from
    which its user has logged in before: strangers cannot lock the owner out.

    Kept in memory, for ``MAX_KEYS`` accounts and addresses: each process counts for itself.
    """

    FREE = 5
    FREE_FROM_ANYWHERE = 100
    LONGEST = 60.0
    MAX_KEYS = 20_000

    def __init__(self, world: World) -> None:
        self._world = world
        self._failures: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()
        self._familiar: OrderedDict[tuple[str, str], None] = OrderedDict()

    def check(self, account: str, address: str) -> None:
        """Raise ``Unauthorized`` while the account has to be left alone; costs nothing, tells nothing of the account."""
        now = self._world.monotonic()
        here, anywhere = _keys(account, address)
        counted = (here,) if here in self._familiar else (here, anywhere)
        if any(now < self._failures.get(key, (0, 0.0))[1] for key in counted):
            raise Unauthorized("Too many failed logins for this account. Wait a minute and try again.")

    def failed(self, account: str, address: str) -> None:
        now = self._world.monotonic()
        for key, free in zip(_keys(account, address), (self.FREE, self.FREE_FROM_ANYWHERE), strict=True):
            count = self._failures.pop(key, (0, 0.0))[0] + 1
            pause = min(2.0 ** min(count - free, 10), self.LONGEST) if count >= free else 0.0
            self._failures[key] = (count, now + pause)
        while len(self._failures) > self.MAX_KEYS:
            self._failures.popitem(last=False)

    def succeeded(self, account: str, address: str) -> None:
        self._failures.pop((account, address), None)
        self._familiar[account, address] = None
        self._familiar.move_to_end((account, address))
        while len(self._familiar) > self.MAX_KEYS:
            self._familiar.popitem(last=False)


def _keys(account: str, address: str) -> tuple[tuple[str, str], tuple[str, str]]:
    return (account, address), (account, "")
