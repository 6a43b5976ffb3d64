"""What all workflows on servers share: the row, and the fault that a failed one leaves."""

from typing import Any

from nova_async.conductor.parts import Run
from nova_async.db import Connection, instances
from nova_async.model.instances import Instance


async def instance_of(run: Run, conn: Connection | None = None) -> Instance:
    """The server of a workflow, read once per run and process. Raises ``NotFound``."""
    if "instance" not in run.memo:
        if conn is not None:
            run.memo["instance"] = await instances.get(conn, run.subject_id)
        else:
            async with run.parts.database.connection() as own:
                run.memo["instance"] = await instances.get(own, run.subject_id)
    return run.memo["instance"]  # type: ignore[no-any-return]


def fault(run: Run, error: dict[str, Any]) -> dict[str, Any]:
    """The ``fault`` of a server view. Details are for admins; Nova's code for a failed build is 500."""
    code = {"Invalid": 400, "NotFound": 404, "Forbidden": 403, "QuotaExceeded": 403, "Conflict": 409}.get(error.get("kind", ""), 500)
    return {
        "code": code,
        "message": str(error.get("message", ""))[:255],
        "details": error.get("detail") or error.get("message") or "",
        "created": run.world.now().isoformat(),
    }
