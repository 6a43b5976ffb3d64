"""The log of usage audits (os-instance_usage_audit_log): whether every host's servers were counted once a period was over."""

from datetime import UTC, datetime
from typing import Any

from nova_async.api.request import Request
from nova_async.db import hosts, usage_audits
from nova_async.errors import Invalid
from nova_async.model.periods import last_completed


async def index(request: Request) -> dict[str, Any]:
    return {"instance_usage_audit_logs": await _log(request, request.parts.world.now())}


async def show(request: Request) -> dict[str, Any]:
    """The period that ended last before a time."""
    text = request.values["id"]
    try:
        before = datetime.strptime(text, "%Y-%m-%d %H:%M:%S.%f" if "." in text else "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
        return {"instance_usage_audit_log": await _log(request, before)}
    except (ValueError, OverflowError):
        raise Invalid(f"Invalid timestamp for date {text[:255]}") from None


async def _log(request: Request, before: datetime) -> dict[str, Any]:
    begin, end = last_completed(request.parts.config.compute.instance_usage_audit_period, before)
    async with request.parts.database.connection() as conn:
        audits = await usage_audits.of_period(conn, begin, end)
        known = [worker.name for worker in await hosts.services(conn)]
    done = {audit.host for audit in audits}
    errors = sum(audit.errors for audit in audits)
    return {
        "period_beginning": _plain(begin),
        "period_ending": _plain(end),
        "num_hosts": len(known),
        "num_hosts_done": len(done),
        "num_hosts_running": 0,
        "num_hosts_not_run": len(set(known) - done),
        "hosts_not_run": sorted(set(known) - done),
        "total_instances": sum(audit.instances for audit in audits),
        "total_errors": errors,
        "overall_status": f"{'ALL' if len(done) == len(known) else f'{len(done)} of {len(known)}'} hosts done. {errors} errors.",
        "log": {a.host: {"state": "DONE", "instances": a.instances, "errors": a.errors, "message": a.message} for a in audits},
    }


def _plain(moment: datetime) -> str:
    return str(moment.replace(tzinfo=None))
