"""Policies of the addresses of a server."""

from nova_async.policy.rule import READER, Rule

INDEX = "os_compute_api:ips:index"
SHOW = "os_compute_api:ips:show"

RULES = (
    Rule(INDEX, READER, "List the addresses of a server."),
    Rule(SHOW, READER, "List the addresses of a server in one network."),
)
