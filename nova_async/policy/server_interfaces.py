"""Policies of a server's network interfaces."""

from nova_async.policy.rule import READER, Rule

LIST = "os_compute_api:os-attach-interfaces:list"
SHOW = "os_compute_api:os-attach-interfaces:show"

RULES = (
    Rule(LIST, READER, "List a server's network interfaces."),
    Rule(SHOW, READER, "Show a server's network interface."),
)
