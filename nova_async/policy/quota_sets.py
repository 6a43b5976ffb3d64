"""Policies of the limits of projects and users."""

from nova_async.policy.rule import ADMIN, ANY, READER, Rule

SHOW = "os_compute_api:os-quota-sets:show"
DETAIL = "os_compute_api:os-quota-sets:detail"
DEFAULTS = "os_compute_api:os-quota-sets:defaults"
UPDATE = "os_compute_api:os-quota-sets:update"
DELETE = "os_compute_api:os-quota-sets:delete"

RULES = (
    Rule(SHOW, READER, "Show the limits of a project."),
    Rule(DETAIL, READER, "Show the limits of a project and what it uses."),
    Rule(DEFAULTS, ANY, "Show the limits that hold where none are set."),
    Rule(UPDATE, ADMIN, "Set limits."),
    Rule(DELETE, ADMIN, "Return to the default limits."),
)
