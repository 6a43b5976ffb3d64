"""What the conductor says of ports on other hosts, kept on disk: after a restart the host needs nobody to be whole."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

import msgspec

from nova_async import log
from nova_async.bus import Bus
from nova_async.bus.messages.conductor import AskSurroundings, SurroundingsTold
from nova_async.compute.plugging.records import LocalNetwork
from nova_async.errors import Error, Unavailable, plain
from nova_async.model.neighbors import Surroundings
from nova_async.world import World

ASK_SECONDS = 10.0
RETRY_SECONDS = (0.5, 15.0)
LOOK_SECONDS = 60.0  # words get lost: so often a host asks by itself
Ask = Callable[[tuple[str, ...], tuple[str, ...]], Awaitable[Surroundings]]  # networks, security groups
logger = log.get("surroundings")


class AskConductor:
    """An ``Ask`` over the bus. Raises ``Unavailable``."""

    def __init__(self, host: str, bus: Bus) -> None:
        self.host, self.bus = host, bus

    async def __call__(self, networks: tuple[str, ...], groups: tuple[str, ...]) -> Surroundings:
        answer = await self.bus.call("conductor", AskSurroundings(host=self.host, networks=networks, groups=groups), timeout=ASK_SECONDS)
        assert isinstance(answer, SurroundingsTold)
        return answer.surroundings


class Lookout:
    """Asks when it is told to, and from time to time; ``on_news`` hears of every answer, whether it is new or not."""

    def __init__(self, file: Path, world: World, ask: Ask, on_news: Callable[[], Awaitable[None]]) -> None:
        self.file, self.world, self.ask, self.on_news = file, world, ask, on_news
        self.known = Surroundings()
        self._wanted = asyncio.Event()

    def load(self) -> None:
        """Blocks. A file that cannot be read is as good as none: the conductor is asked anyway."""
        try:
            self.known = msgspec.json.decode(self.file.read_bytes(), type=Surroundings)
        except (OSError, msgspec.DecodeError):
            self.known = Surroundings()

    def look(self) -> None:
        self._wanted.set()

    async def run(self, networks: Callable[[], Iterable[LocalNetwork]]) -> None:
        """Ask for what is plugged now, for ever."""
        self.look()
        pause = RETRY_SECONDS[0]
        while True:
            await self._told_or_due()
            self._wanted.clear()
            try:
                await self._ask(list(networks()))
            except (Error, OSError, TimeoutError) as error:
                if not isinstance(error, Unavailable):
                    logger.error("surroundings.failed", error=plain(error), detail=getattr(error, "detail", None))
                self.look()
                await self.world.sleep(pause * (0.5 + self.world.random.random() / 2))
                pause = min(pause * 2, RETRY_SECONDS[1])
            else:
                pause = RETRY_SECONDS[0]

    async def _told_or_due(self) -> None:
        due = asyncio.ensure_future(self.world.sleep(LOOK_SECONDS * (0.8 + 0.4 * self.world.random.random())))
        told = asyncio.ensure_future(self._wanted.wait())
        try:
            await asyncio.wait({due, told}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            due.cancel()
            told.cancel()

    async def _ask(self, networks: list[LocalNetwork]) -> None:
        wanted = tuple(sorted({network.network_id for network in networks}))
        if not wanted:
            told = Surroundings()
        else:
            told = await self.ask(wanted, tuple(sorted({group for network in networks for group in network.remote_groups})))
        if told != self.known:
            self.known = told
            await asyncio.to_thread(self._keep, told)
            logger.info("surroundings.changed", hosts=len(told.hosts), segments=len(told.segments))
        await self.on_news()

    def _keep(self, told: Surroundings) -> None:
        fresh = self.file.with_suffix(".new")
        with fresh.open("wb") as file:
            file.write(msgspec.json.encode(told))
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(self.file)
