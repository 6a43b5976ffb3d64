"""Waiting for an operation that the caller of the API wants to see ended."""

from typing import Any, NamedTuple

from nova_async.api.request import Request
from nova_async.db import workflows

FIRST_LOOK_SECONDS, SLOWEST_SECONDS = 0.05, 0.5
OVER = frozenset({"done", "failed", "cancelled"})


class Outcome(NamedTuple):
    """``error`` is the public text of what went wrong."""

    error: str | None
    results: dict[str, Any]


async def ended(request: Request, workflow_id: str, seconds: float) -> Outcome | None:
    """How it ended; None when it has not within ``seconds``."""
    world, pause = request.parts.world, FIRST_LOOK_SECONDS
    deadline = world.monotonic() + seconds
    while world.monotonic() < deadline:
        await world.sleep(pause)
        pause = min(pause * 1.5, SLOWEST_SECONDS)
        async with request.parts.database.connection() as conn:
            row = await workflows.get(conn, workflow_id)
        if row.state in OVER:
            failed = row.state != "done"
            return Outcome(str((row.error or {}).get("message") or "It was cancelled.") if failed else None, row.results)
    return None
