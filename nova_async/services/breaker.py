"""When to leave a service alone that does not answer, so that nobody waits for it in vain."""

from nova_async.world import World

BREAK_AFTER = 8  # failures in a row: two questions that were given up
FIRST_REST = 1.0  # seconds; doubled each time
LONGEST_REST = 30.0


class Breaker:
    """Of one service. Ask ``closed`` before each question, and tell how it went."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._failures = 0
        self._rests = 0
        self._until = float("-inf")

    def closed(self) -> bool:
        """Whether a question may be sent now. After a rest one may; the next only when that has been answered, or after another rest."""
        if self._failures < BREAK_AFTER:
            return True
        now = self._world.monotonic()
        if now < self._until:
            return False
        self._rest(now)
        return True

    def succeeded(self) -> None:
        self._failures = self._rests = 0
        self._until = float("-inf")

    def failed(self) -> None:
        self._failures += 1
        if self._failures == BREAK_AFTER:
            self._rest(self._world.monotonic())

    def gave_up(self) -> None:
        """Who asked did not wait for the answer: the next may ask at once."""
        if self._failures >= BREAK_AFTER:
            self._until = self._world.monotonic()

    def _rest(self, now: float) -> None:
        self._until = now + min(FIRST_REST * 2**self._rests, LONGEST_REST) * self._world.random.uniform(0.8, 1.0)
        self._rests = min(self._rests + 1, 10)
