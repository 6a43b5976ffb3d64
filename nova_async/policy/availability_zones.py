"""Policies of availability zones."""

from nova_async.policy.rule import ADMIN, ANY, Rule

LIST = "os_compute_api:os-availability-zone:list"
DETAIL = "os_compute_api:os-availability-zone:detail"

RULES = (
    Rule(LIST, ANY, "List availability zones."),
    Rule(DETAIL, ADMIN, "List availability zones with their hosts."),
)
