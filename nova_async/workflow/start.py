"""How an edge asks for an operation: a row inside its own transaction, and a nudge after the commit."""

from typing import Any, Protocol

from nova_async.context import Context
from nova_async.db import Connection


class Starter(Protocol):
    async def begin(
        self, conn: Connection, ctx: Context, kind: str, subject_id: str, *, over: frozenset[str] = frozenset(), **input: Any
    ) -> str:
        """Insert the workflow ``kind`` (an action's name: create, delete, stop ...) for a subject; returns its id.

        Raises ``Conflict`` while another operation on the subject is live. ``delete`` never conflicts: it cancels what is
        live and runs after it. A second delete returns the id of the first. ``over`` names kinds which this one cancels likewise.
        """
        ...

    async def begin_many(self, conn: Connection, ctx: Context, kind: str, subject_ids: list[str], **input: Any) -> list[str]:
        """As ``begin``, for new subjects, in one statement; all or nothing."""
        ...

    async def record(self, conn: Connection, ctx: Context, kind: str, subject_id: str, message: str = "") -> None:
        """Note an operation that was finished in the caller's own transaction (lock, unlock ...)."""
        ...

    async def signal(self, conn: Connection, workflow_id: str, signal: str) -> bool:
        """Tell a live workflow to turn back (``abort``), where it still can; False when it has ended."""
        ...

    def go(self, workflow_ids: list[str]) -> None:
        """After the commit: begin at once instead of at the next poll."""
        ...
