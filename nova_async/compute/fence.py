"""A host that was away does not make guests that have been made elsewhere since (INV-10).

What was sent to it before, it finds when it returns: in its journal, or in its queue. For as long after a start or a silence as
others may have taken it for dead, it asks whether the placement still is the server's, before it makes a guest.
"""

from nova_async import log
from nova_async.bus import Bus
from nova_async.bus.messages.compute import Command, FinishMove, PrepareLive, ReceiveDisk, Spawn
from nova_async.bus.messages.conductor import AskPlacement, Placement
from nova_async.errors import Conflict, Unavailable
from nova_async.world import World

logger = log.get("compute.fence")
MAKING = (Spawn, ReceiveDisk, FinishMove, PrepareLive)
ASK_SECONDS = 10.0
TRIES = 6


class Fence:
    """``down_seconds``: the silence after which a host counts as dead."""

    def __init__(self, host: str, bus: Bus, world: World, down_seconds: float) -> None:
        self._host, self._bus, self._world, self._down_seconds = host, bus, world, down_seconds
        self._reported = world.monotonic()
        self._doubtful_until = self._reported + down_seconds

    def reported(self) -> None:
        """A sign of life was sent."""
        if self._is_late():
            self.silent()
        self._reported = self._world.monotonic()

    def silent(self) -> None:
        """One could not be sent."""
        self._doubtful_until = self._world.monotonic() + self._down_seconds

    async def check(self, command: Command) -> None:
        """Raises ``Conflict`` when the placement is given up, ``Unavailable`` when nobody can tell."""
        if isinstance(command, MAKING) and self._is_doubtful() and not await self._is_held(command):
            logger.warning("command.outlived", server=command.instance_id, generation=command.generation)
            raise Conflict("The server is not placed on this host any more.")

    def _is_doubtful(self) -> bool:
        return self._is_late() or self._world.monotonic() < self._doubtful_until

    def _is_late(self) -> bool:
        return self._world.monotonic() - self._reported > self._down_seconds

    async def _is_held(self, command: Command) -> bool:
        question = AskPlacement(host=self._host, instance_id=command.instance_id, generation=command.generation)
        tried = 0
        while True:
            try:
                answer = await self._bus.call("conductor", question, timeout=ASK_SECONDS)
                assert isinstance(answer, Placement)
                return answer.held
            except Unavailable:
                tried += 1
                if tried == TRIES:
                    raise
                await self._world.sleep(0.5 * 2.0**tried * (0.5 + self._world.random.random() / 2))
