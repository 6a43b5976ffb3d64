"""Time and chance, behind one object.

Everything that reads a clock, sleeps, draws a random number or makes an identifier asks a
``World``. A run with a simulated world and a fixed seed can be replayed.
"""

import asyncio
import random
import secrets
import time
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import ssl


class World(Protocol):
    """What the process knows of time and chance, and whom it trusts out there."""

    random: random.Random
    trust: "ssl.SSLContext | bool"  # for HTTPS to other services; True: what the system trusts

    def now(self) -> datetime:
        """The wall clock, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never goes backwards."""
        ...

    async def sleep(self, seconds: float) -> None: ...

    def uuid(self) -> str:
        """A random UUID (RFC 9562, version 4) with dashes."""
        ...

    def secret(self, octets: int = 32) -> str:
        """A URL-safe secret drawn from the operating system's generator."""
        ...


class RealWorld:
    """The world as it is."""

    def __init__(self) -> None:
        self.random = random.Random(secrets.randbits(64))
        self.trust: ssl.SSLContext | bool = True

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def uuid(self) -> str:
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    def secret(self, octets: int = 32) -> str:
        return secrets.token_urlsafe(octets)


class SimulatedWorld:
    """A world whose chance comes from a seed and whose clock moves only when told, or as sleepers wait.

    ``sleep`` advances the clock to the earliest sleeper's time once the loop is otherwise idle,
    so that a simulated hour takes no real time.
    """

    def __init__(self, seed: int = 0, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self.random = random.Random(seed)
        self.trust: ssl.SSLContext | bool = True
        self._start = start
        self._elapsed = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._start.timestamp() + self._elapsed, UTC)

    def monotonic(self) -> float:
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1
        self._sleepers.append((self._elapsed + max(0.0, seconds), self._count, done))
        await done

    def advance(self, seconds: float) -> None:
        """Move the clock and wake every sleeper whose time has come, in order."""
        self._elapsed += seconds
        due = sorted(s for s in self._sleepers if s[0] <= self._elapsed)
        self._sleepers = [s for s in self._sleepers if s[0] > self._elapsed]
        for _, _, done in due:
            if not done.done():
                done.set_result(None)

    def next_wake(self) -> float | None:
        """Seconds until the earliest sleeper is due, or None when nobody sleeps."""
        live = [s[0] for s in self._sleepers if not s[2].done()]
        return max(0.0, min(live) - self._elapsed) if live else None

    def uuid(self) -> str:
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    def secret(self, octets: int = 32) -> str:
        return self.random.randbytes(octets).hex()
