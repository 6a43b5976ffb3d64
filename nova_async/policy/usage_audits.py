"""Policies of the log of usage audits."""

from nova_async.policy.rule import ADMIN, Rule

LIST = "os_compute_api:os-instance-usage-audit-log:list"
SHOW = "os_compute_api:os-instance-usage-audit-log:show"

RULES = (
    Rule(LIST, ADMIN, "Show the usage audit of the period that ended last."),
    Rule(SHOW, ADMIN, "Show the usage audit of the period that ended last before a time."),
)
