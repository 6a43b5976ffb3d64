"""Policies of bare-metal nodes."""

from nova_async.policy.rule import ADMIN, Rule

LIST = "os_compute_api:os-baremetal-nodes:list"
SHOW = "os_compute_api:os-baremetal-nodes:show"

RULES = (
    Rule(LIST, ADMIN, "List bare-metal nodes."),
    Rule(SHOW, ADMIN, "Show a bare-metal node."),
)
