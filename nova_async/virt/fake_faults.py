"""What goes wrong in the fake hypervisor, when it is told to."""

import asyncio

import msgspec

from nova_async.errors import Error, Unavailable
from nova_async.world import World


class Faults:
    """What goes wrong, by operation: a method name of the driver, or ``*`` for all of them."""

    def __init__(self) -> None:
        self.ignore_power_button = False
        self._delays: dict[str, tuple[float, float]] = {}
        self._failures: dict[str, list[_Failure]] = {}
        self._held: dict[str, list[tuple[str, asyncio.Future[None]]]] = {}

    def delay(self, operation: str, seconds: float, jitter: float = 0.0) -> None:
        """Make it wait first, ``seconds`` plus at most ``jitter`` by chance (calls then overtake each other)."""
        self._delays[operation] = (seconds, jitter)

    def fail(self, operation: str, times: int | None = 1, error: Error | None = None, *, after: bool = False) -> None:
        """Make the next ``times`` calls fail (None: all of them); ``after``: only once the work is done."""
        failure = _Failure(times, error or Unavailable("The fake hypervisor was told to fail."), after)
        self._failures.setdefault(operation, []).append(failure)

    def hang(self, operation: str) -> None:
        """Make calls wait until ``release``, in the order in which that names them."""
        self._held.setdefault(operation, [])

    def waiting(self, operation: str) -> list[str]:
        """Guests whose call hangs, in order of arrival."""
        return [instance_id for instance_id, _ in self._held.get(operation, [])]

    def release(self, operation: str, instance_id: str | None = None) -> None:
        """Let the calls for one guest go on, or (None) all of them and those to come."""
        calls = self._held.get(operation, [])
        free = [call for call in calls if instance_id in (None, call[0])]
        self._held[operation] = [call for call in calls if call not in free]
        if instance_id is None:
            self._held.pop(operation)
        for _, gate in free:
            if not gate.done():
                gate.set_result(None)

    def clear(self) -> None:
        """All is well again; hanging calls go on."""
        for operation in list(self._held):
            self.release(operation)
        self._delays.clear()
        self._failures.clear()
        self.ignore_power_button = False

    async def before(self, operation: str, instance_id: str, world: World) -> None:
        for key in (operation, "*"):
            if key in self._held:
                gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._held[key].append((instance_id, gate))
                await gate
            if key in self._delays:
                seconds, jitter = self._delays[key]
                await world.sleep(seconds + jitter * world.random.random())
        self._raise(operation, after=False)

    def done(self, operation: str) -> None:
        self._raise(operation, after=True)

    def _raise(self, operation: str, *, after: bool) -> None:
        for key in (operation, "*"):
            for failure in self._failures.get(key, ()):
                if failure.after == after and failure.times != 0:
                    if failure.times is not None:
                        failure.times -= 1
                    raise failure.error


class _Failure(msgspec.Struct):
    times: int | None
    error: Error
    after: bool
