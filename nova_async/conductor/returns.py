"""Hosts that come back after a silence: their dead guests go before they count as up (INV-11).

A worker that was started registers, and is told what is dead. One that was only cut off knows nothing of its absence, so it is
asked. So are all hosts by a conductor that has just started, or that was cut off itself.
"""

import asyncio
from collections.abc import Awaitable, Callable

from nova_async import log
from nova_async.bus import Bus
from nova_async.bus.messages.compute import GuestList, GuestState, ListGuests, Reap
from nova_async.bus.messages.conductor import HostReport
from nova_async.errors import Error

logger = log.get("conductor.returns")
AT_ONCE = 32
ASK_SECONDS = 10.0
REAP_SECONDS = 60.0

DeadGuests = Callable[[str, tuple[GuestState, ...]], Awaitable[list[tuple[str, int]]]]


class Returns:
    """``dead``: which guests of a host are dead; ``count``: what a report of a host that may be up means."""

    def __init__(self, bus: Bus, dead: DeadGuests, count: Callable[[HostReport], None]) -> None:
        self._bus, self._dead, self._count = bus, dead, count
        self._waiting: dict[str, HostReport] = {}  # the newest report of each host
        self._looking: set[str] = set()
        self._known = asyncio.Event()
        self._turn = asyncio.Semaphore(AT_ONCE)

    def heard(self, report: HostReport) -> None:
        """A host that was silent reports. While it is being looked at, nothing of it counts."""
        if report.host not in self._looking:
            self._waiting[report.host] = report
            self._known.set()

    async def look_forever(self) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                await self._known.wait()
                self._known.clear()
                waiting, self._waiting = self._waiting, {}
                for report in waiting.values():
                    self._looking.add(report.host)
                    group.create_task(self._look(report), name=f"return-of-{report.host}")

    async def _look(self, report: HostReport) -> None:
        """One that does not answer is asked again with its next report."""
        try:
            async with self._turn:
                answer = await self._bus.call(f"compute.{report.host}", ListGuests(), timeout=ASK_SECONDS)
                assert isinstance(answer, GuestList)
                if dead := await self._dead(report.host, answer.guests):
                    logger.info("host.reap", host=report.host, servers=[server for server, _ in dead])
                    await self._bus.call(f"compute.{report.host}", Reap(instances=tuple(dead)), timeout=REAP_SECONDS)
            self._count(report)
        except Error as error:
            logger.warning("host.not_looked_at", host=report.host, error=error.message)
        finally:
            self._looking.discard(report.host)
