"""What the log of usage audits looks like."""

from nova_async.api.render import AsItIs
from nova_async.api.shapes import INTEGER, STRINGS, TEXT, closed, mapping, one_of

COUNTS = ("num_hosts", "num_hosts_done", "num_hosts_running", "num_hosts_not_run", "total_instances", "total_errors")
AUDIT = closed({"state": one_of("DONE", "RUNNING"), "instances": INTEGER, "errors": INTEGER, "message": TEXT})
LOG = closed(
    {
        **dict.fromkeys(("period_beginning", "period_ending", "overall_status"), TEXT),
        **dict.fromkeys(COUNTS, INTEGER),
        "hosts_not_run": STRINGS,
        "log": mapping(AUDIT),
    }
)

LIST = AsItIs(closed({"instance_usage_audit_logs": LOG}))
SHOW = AsItIs(closed({"instance_usage_audit_log": LOG}))
