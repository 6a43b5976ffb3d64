"""Who is connected to which console: counted, bounded, and cut off when their time or their server's is over."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from nova_async.config import Console
from nova_async.db.console_tokens import Grant
from nova_async.errors import Forbidden
from nova_async.model.consoles import PROTOCOLS, SERIAL
from nova_async.world import World

TAKEN = "Somebody else has opened this console: the user {}."
TAKEN_BY_SELF = "You have opened this console once more, elsewhere."


class TooMany(Forbidden):
    """One session more would be above a limit."""


class Session:
    """One connection. ``cut`` is set, with a word for the viewer, when it has to end."""

    def __init__(self, grant: Grant, world: World) -> None:
        self.grant, self._world = grant, world
        self.began = self.active = world.monotonic()
        self.cut: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def touch(self) -> None:
        self.active = self._world.monotonic()

    def end(self, reason: str) -> None:
        if not self.cut.done():
            self.cut.set_result(reason)


class Sessions:
    """All of this process. A page with several channels (SPICE) counts once for each."""

    def __init__(self, options: Console, world: World) -> None:
        self.options, self.world = options, world
        self.arriving = 0
        self.live: set[Session] = set()

    @contextmanager
    def arrival(self) -> Iterator[None]:
        """A place for somebody who has yet to prove anything. Raises ``TooMany``."""
        if self.arriving + len(self.live) >= self.options.max_sessions:
            raise TooMany("Too many consoles are open.")
        self.arriving += 1
        try:
            yield
        finally:
            self.arriving -= 1

    @contextmanager
    def session(self, grant: Grant) -> Iterator[Session]:
        """Raises ``TooMany``."""
        self.check_room(grant)
        session = Session(grant, self.world)
        if grant.console_type == SERIAL:
            self.take_over(session)
        self.live.add(session)
        try:
            yield session
        finally:
            self.live.discard(session)
            session.cut.cancel()

    def check_room(self, grant: Grant) -> None:
        """Raises ``TooMany``."""
        if sum(s.grant.user_id == grant.user_id for s in self.live) >= self.options.max_sessions_of_user:
            raise TooMany("Too many consoles of this user are open.")
        if sum(s.grant.instance_id == grant.instance_id for s in self.live) >= self.options.max_sessions_of_server:
            raise TooMany("Too many consoles of this server are open.")

    def take_over(self, new: Session) -> None:
        """A serial line and a SPICE screen have one viewer, the last that came; the guest does the same for those of other processes."""
        for session in self.live - {new}:
            if _line(session.grant) == _line(new.grant):
                same = session.grant.user_id == new.grant.user_id
                session.end(TAKEN_BY_SELF if same else TAKEN.format(new.grant.user_id[:64]))

    def end_overdue(self) -> None:
        now = self.world.monotonic()
        for session in self.live:
            if now - session.began > self.options.session_seconds:
                session.end("The session has lasted as long as it may.")
            elif now - session.active > self.options.idle_seconds:
                session.end("Nothing has happened for long.")

    def end_orphans(self, holding: set[tuple[str, int]], asked: set[Session]) -> None:
        """``holding``: what is left of the (server, placement) of the sessions ``asked``."""
        for session in asked:
            if (session.grant.instance_id, session.grant.generation) not in holding:
                session.end("The server was stopped, moved or deleted.")


def _line(grant: Grant) -> tuple[str, str]:
    """What has one viewer at a time: a server's consoles of one protocol."""
    return grant.instance_id, PROTOCOLS[grant.console_type]
