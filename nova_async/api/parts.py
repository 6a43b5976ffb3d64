"""What the API needs from the rest of the program."""

import asyncio
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from nova_async.bus import Bus
from nova_async.config import Config
from nova_async.console.tokens import ConsoleTokens
from nova_async.db import Database
from nova_async.keys import Vouch
from nova_async.model.hosts import Liveness
from nova_async.notifications.outbox import Outbox
from nova_async.policy import RULES, Policy
from nova_async.services.callers import CallersTokens
from nova_async.services.image import ImageService
from nova_async.services.network import NetworkService
from nova_async.services.volume import VolumeService
from nova_async.services.web import Identity
from nova_async.workflow.start import Starter
from nova_async.world import World

CREATES_AT_ONCE = 4


@dataclass(slots=True)
class Parts:
    config: Config
    world: World
    database: Database
    bus: Bus
    starter: Starter
    tokens: Identity
    images: ImageService
    networks: NetworkService
    volumes: VolumeService
    hosts: Liveness
    callers: CallersTokens | None = None  # for services that want the caller's token
    vouch: Vouch | None = None  # for certificates of users; None: they vouch for themselves
    policy: Policy = field(init=False)
    turns: "Turns" = field(init=False)
    outbox: Outbox = field(init=False)
    consoles: ConsoleTokens = field(init=False)

    def __post_init__(self) -> None:
        self.policy = Policy(RULES, self.config.api.policy_file)
        self.turns = Turns()
        self.outbox = Outbox(self.config.notifications, self.world)
        self.consoles = ConsoleTokens(self.config, self.world, self.database, self.bus)


class Turns:
    """A few at a time for each key, within this process.

    What the database serialises where it counts (creates of one project, by its quota) waits here, where waiting costs no
    connection; where nothing is limited, those few commit together.
    """

    def __init__(self) -> None:
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    def of(self, key: str) -> asyncio.Semaphore:
        """To be held with ``async with``."""
        turn = self._turns.get(key)
        if turn is None:
            turn = self._turns[key] = asyncio.Semaphore(CREATES_AT_ONCE)
        return turn
