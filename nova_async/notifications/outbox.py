"""Where a change leaves its notifications: rows of the same transaction. Nothing is written while notifications are off."""

import socket
from collections.abc import Sequence
from typing import Any

import msgspec

from nova_async.config import Notifications
from nova_async.context import Context
from nova_async.db import Connection, notifications
from nova_async.notifications.events import EVENTS
from nova_async.world import World


class Outbox:
    def __init__(self, config: Notifications, world: World, host: str | None = None) -> None:
        self.config, self.world, self.host = config, world, host or socket.gethostname()

    @property
    def enabled(self) -> bool:
        return self.config.enabled

    async def tell(self, conn: Connection, names: Sequence[str], row: Any) -> None:
        """``row``, a struct, is what the payload is made of."""
        if self.enabled:
            publishers = [f"{EVENTS[name].service}:{self.host}" for name in names]
            await notifications.put(conn, self._ids(names), names, publishers, msgspec.to_builtins(row))

    async def tell_of_server(self, conn: Connection, names: Sequence[str], server: str, ctx: Context, **facts: Any) -> str | None:
        """The server's row is kept as it is now. ``facts``: task_state, error ({kind, message, detail}), and what a payload shows besides.

        Returns the server's vm_state.
        """
        if not self.enabled:
            return None
        caller = {"request_id": ctx.request_id, "user_id": ctx.user_id, "project_id": ctx.project_id, "at": self.world.now().isoformat()}
        services = [EVENTS[name].service for name in names]
        return await notifications.put_of_server(conn, self._ids(names), names, services, self.host, server, facts | caller)

    def _ids(self, names: Sequence[str]) -> list[str]:
        return [self.world.uuid() for _ in names]
