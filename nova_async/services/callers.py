"""The tokens of those who asked for something, for services that do a thing only for whoever it will belong to.

They are kept in memory alone and for a while: never in a row, a message or a log. Work that another process has taken over goes on
without them.
"""

from collections import OrderedDict

from nova_async.world import World

KEPT_SECONDS = 7200.0
MOST = 10_000


class CallersTokens:
    def __init__(self, world: World) -> None:
        self._world = world
        self._known: OrderedDict[str, tuple[float, str]] = OrderedDict()

    def remember(self, request_id: str, token: str) -> None:
        """Whose token a request came with."""
        now = self._world.monotonic()
        self._known[request_id] = (now + KEPT_SECONDS, token)
        while len(self._known) > MOST or next(iter(self._known.values()))[0] <= now:
            self._known.popitem(last=False)

    def of(self, request_id: str) -> str:
        """Empty where it is not known, or not any more."""
        until, token = self._known.get(request_id, (float("-inf"), ""))
        return token if self._world.monotonic() < until else ""
