"""Policies of shares that are attached to servers."""

from nova_async.policy.rule import MEMBER, READER, Rule

INDEX = "os_compute_api:os-server-shares:index"
CREATE = "os_compute_api:os-server-shares:create"
SHOW = "os_compute_api:os-server-shares:show"
DELETE = "os_compute_api:os-server-shares:delete"

RULES = (
    Rule(INDEX, READER, "List the shares of a server."),
    Rule(CREATE, MEMBER, "Attach a share to a server."),
    Rule(SHOW, READER, "Show a share of a server."),
    Rule(DELETE, MEMBER, "Detach a share from a server."),
)
