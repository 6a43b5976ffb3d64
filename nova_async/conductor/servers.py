"""What all workflows on servers share: the row, and the fault that a failed one leaves."""

from typing import Any

from nova_async.conductor.parts import Run
from nova_async.db import Connection, instances
from nova_async.errors import NotFound
from nova_async.model.instances import Instance


async def instance_of(run: Run, conn: Connection | None = None) -> Instance:
    """The server of a workflow, deleted or not, read once per run and process. Raises ``NotFound``."""
    if "instance" not in run.memo:
        if conn is None:
            async with run.parts.database.connection() as own:
                return await instance_of(run, own)
        found = await instances.by_ids(conn, [run.subject_id])
        if run.subject_id not in found:
            raise NotFound(f"Instance {run.subject_id} could not be found.")
        run.memo["instance"] = found[run.subject_id]
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
