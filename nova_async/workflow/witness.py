"""Somebody who hears of every move, inside the transaction that writes it, and may write beside it."""

from typing import Any, Protocol

from nova_async.context import Context
from nova_async.db import Connection
from nova_async.db.workflows import Move
from nova_async.workflow.row import WorkflowRow
from nova_async.workflow.run import Run


class Witness(Protocol):
    async def begun(self, conn: Connection, row: WorkflowRow) -> None:
        """A workflow was inserted, or queued behind another."""
        ...

    async def recorded(self, conn: Connection, ctx: Context, kind: str, subject_id: str) -> None:
        """An operation was finished by its caller."""
        ...

    async def moved(self, conn: Connection, run: Run[Any], move: Move) -> None:
        """``move`` is written; ``run`` still says what was before."""
        ...
