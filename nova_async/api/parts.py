"""What the API needs from the rest of the program."""

from dataclasses import dataclass, field

from nova_async.bus import Bus
from nova_async.config import Config
from nova_async.db import Database
from nova_async.model.hosts import Liveness
from nova_async.policy import RULES, Policy
from nova_async.services.image import ImageService
from nova_async.services.network import NetworkService
from nova_async.services.web import Tokens
from nova_async.workflow.start import Starter
from nova_async.world import World


@dataclass(slots=True)
class Parts:
    config: Config
    world: World
    database: Database
    bus: Bus
    starter: Starter
    tokens: Tokens
    images: ImageService
    networks: NetworkService
    hosts: Liveness
    policy: Policy = field(init=False)

    def __post_init__(self) -> None:
        self.policy = Policy(RULES, self.config.api.policy_file)
