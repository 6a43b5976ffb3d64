"""From the outbox to the bus, in order, by one process at a time; a row goes once the bus has confirmed it.

A process that dies in between lets its successor send some of them again, under the same message id.
"""

import asyncio

from nova_async import log
from nova_async.bus import Bus
from nova_async.config import Notifications
from nova_async.db import Database, notifications
from nova_async.db.notifications import Waiting
from nova_async.errors import Error, Unavailable
from nova_async.notifications.events import EVENTS, priority
from nova_async.world import World

logger = log.get("notifications")
AT_ONCE = 100
POLL_SECONDS = 1.0
AWAY_SECONDS = 10.0


class Publisher:
    def __init__(self, config: Notifications, database: Database, bus: Bus, world: World) -> None:
        self.config, self.database, self.bus, self.world = config, database, bus, world
        self._wake = asyncio.Event()

    def wake(self) -> None:
        self._wake.set()

    async def run(self) -> None:
        """Publish until cancelled."""
        while True:
            self._wake.clear()
            pause = POLL_SECONDS
            try:
                while await self.publish_some() == AT_ONCE:
                    pass
            except Error as error:
                logger.warning("notifications.wait", error=error.message)
                pause = AWAY_SECONDS
            try:
                async with asyncio.timeout(pause * (0.8 + 0.4 * self.world.random.random())):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def publish_some(self) -> int:
        """Send the oldest; how many have gone. Raises ``Unavailable`` when the bus or the database does not take them."""
        async with self.database.transaction() as conn:
            if not await notifications.take_turn(conn):
                return 0
            if dropped := await notifications.drop_old(conn, self.config.retention_seconds):
                logger.warning("notifications.dropped", count=dropped)
            sent: list[int] = []
            failure: Unavailable | None = None
            for waiting in await notifications.oldest(conn, AT_ONCE):
                try:
                    await self.bus.notify(f"{self.config.topic}.{priority(waiting.event_type).lower()}", notification(waiting))
                except Unavailable as error:
                    failure = error
                    break
                sent.append(waiting.number)
            await notifications.forget(conn, sent)
        if failure is not None:
            raise failure
        return len(sent)


def notification(waiting: Waiting) -> dict[str, object]:
    """As oslo.messaging's consumers get it."""
    return {
        "message_id": waiting.message_id,
        "publisher_id": waiting.publisher_id,
        "event_type": waiting.event_type,
        "priority": priority(waiting.event_type),
        "payload": EVENTS[waiting.event_type].payload(waiting.facts),
        "timestamp": waiting.created_at.replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds"),
    }
