"""Policies of the limits that are defaults."""

from nova_async.policy.rule import ADMIN, Rule

SHOW = "os_compute_api:os-quota-class-sets:show"
UPDATE = "os_compute_api:os-quota-class-sets:update"

RULES = (
    Rule(SHOW, ADMIN, "Show the limits of a class."),
    Rule(UPDATE, ADMIN, "Set the limits of a class."),
)
