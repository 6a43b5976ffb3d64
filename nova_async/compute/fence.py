"""A host that was away does not make guests that have been made elsewhere since (INV-10), nor what nobody waits for any more (INV-24).

What was sent to it before, it finds when it returns: in its journal, or in its queue. For as long after a start or a silence as
others may have taken it for dead, it asks first: whether the placement still is the server's, before it makes a guest, and
whether the operation is still going on, before anything else. It may always destroy, and do what was left to it to do (``stands``).
"""

from nova_async import log
from nova_async.bus import Bus
from nova_async.bus.messages.compute import UNDO, Command, Destroy, FinishMove, PrepareLive, ReceiveDisk, Spawn
from nova_async.bus.messages.conductor import AskOperation, AskPlacement, Operation, Placement
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
        """Raises ``Conflict`` when the placement or the operation is given up, ``Unavailable`` when nobody can tell."""
        making = isinstance(command, MAKING)
        if isinstance(command, Destroy) or (command.stands and not making) or not self._is_doubtful():
            return
        if not await self._is_wanted(command):
            logger.warning("command.outlived", server=command.instance_id, generation=command.generation, step=command.step)
            what = "server is not placed on this host" if making else "operation is not going on"
            raise Conflict(f"The {what} any more.")

    def _is_doubtful(self) -> bool:
        return self._is_late() or self._world.monotonic() < self._doubtful_until

    def _is_late(self) -> bool:
        return self._world.monotonic() - self._reported > self._down_seconds

    async def _is_wanted(self, command: Command) -> bool:
        question: AskPlacement | AskOperation
        if isinstance(command, MAKING):
            question = AskPlacement(host=self._host, instance_id=command.instance_id, generation=command.generation)
        else:
            question = AskOperation(workflow_id=command.workflow_id, undo=command.step.startswith(UNDO))
        tried = 0
        while True:
            try:
                answer = await self._bus.call("conductor", question, timeout=ASK_SECONDS)
                assert isinstance(answer, Placement | Operation)
                return answer.held if isinstance(answer, Placement) else answer.live
            except Unavailable:
                tried += 1
                if tried == TRIES:
                    raise
                await self._world.sleep(0.5 * 2.0**tried * (0.5 + self._world.random.random() / 2))
