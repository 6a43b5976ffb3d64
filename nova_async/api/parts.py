"""What the API needs from the rest of the program."""

import asyncio
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from nova_async.bus import Bus
from nova_async.config import Config
from nova_async.console.tokens import ConsoleTokens
from nova_async.db import Database
from nova_async.model.hosts import Liveness
from nova_async.notifications.outbox import Outbox
from nova_async.policy import RULES, Policy
from nova_async.services.image import ImageService
from nova_async.services.network import NetworkService
from nova_async.services.volume import VolumeService
from nova_async.services.web import Identity
from nova_async.workflow.start import Starter
from nova_async.world import World


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
    """One at a time for each key, within this process.

    What the database would serialise anyway (creates of one project, which count its quota) waits here, where waiting
    costs no connection.
    """

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def of(self, key: str) -> asyncio.Lock:
        """To be held with ``async with``."""
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = asyncio.Lock()
        return lock
