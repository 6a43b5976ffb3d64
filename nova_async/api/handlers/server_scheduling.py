"""Why a server is where it is, or nowhere (/servers/{id}/scheduling): an addition to Nova's API."""

from itertools import islice
from typing import Any

from nova_async.api.request import Request
from nova_async.db import workflows
from nova_async.scheduler.request import CLAIMS
from nova_async.workflow.row import WorkflowRow

AT_MOST = 20  # decisions told of one server


async def show(request: Request) -> dict[str, Any]:
    """The newest decisions that were kept, also of moves: candidates with weights, and per refused host each filter's reason."""
    async with request.parts.database.connection() as conn:
        rows = await workflows.of_subject(conn, request.values["server_id"])
    return {"scheduling": list(islice((told for row in rows if (told := _told(row))), AT_MOST))}


def _told(row: WorkflowRow) -> dict[str, Any] | None:
    claimed: dict[str, Any] = next((row.results[step] for step in CLAIMS if row.results.get(step)), {})
    memory = row.results.get("memory", {})
    decision = claimed.get("decision") or memory.get("decision")
    if decision is None:
        return None
    return {
        "action": row.kind,
        "request_id": row.request_id,
        "created_at": row.created_at.isoformat(),
        "host": claimed.get("host"),
        "from": claimed.get("source", {}).get("host"),
        "candidates": decision["candidates"],
        "hosts": decision["hosts"],
        "refused_by": decision["counts"],
        "refusals": [_refusal(host, why) for host, why in decision["refusals"].items()],
        "tried": [{"host": host, "reason": why} for host, why in memory.get("tried", {}).items()],
        "error": (row.error or {}).get("message"),
    }


def _refusal(host: str, why: dict[str, Any]) -> dict[str, Any]:
    """The first filter that refused a host, and those that would have come next."""
    others = [{"filter": name, "reason": reason} for name, reason in why.get("others", ())]
    return {"host": host, "filter": why["filter"], "reason": why["reason"], "others": others}
