"""Policies of what projects used in a time (os-simple-tenant-usage)."""

from nova_async.policy.rule import ADMIN, READER, Rule

SHOW = "os_compute_api:os-simple-tenant-usage:show"
LIST = "os_compute_api:os-simple-tenant-usage:list"

RULES = (
    Rule(SHOW, READER, "Show what a project used."),
    Rule(LIST, ADMIN, "List what all projects used."),
)
