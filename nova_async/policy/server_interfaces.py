"""Policies of a server's network interfaces."""

from nova_async.policy.rule import MEMBER, READER, Rule

LIST = "os_compute_api:os-attach-interfaces:list"
SHOW = "os_compute_api:os-attach-interfaces:show"
CREATE = "os_compute_api:os-attach-interfaces:create"
DELETE = "os_compute_api:os-attach-interfaces:delete"

RULES = (
    Rule(LIST, READER, "List a server's network interfaces."),
    Rule(SHOW, READER, "Show a server's network interface."),
    Rule(CREATE, MEMBER, "Add a network interface to a server."),
    Rule(DELETE, MEMBER, "Take a network interface from a server."),
)
