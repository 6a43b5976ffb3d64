"""Policies of key pairs: everybody's own, and for administrators everybody's."""

from nova_async.policy.rule import SELF, Rule

INDEX = "os_compute_api:os-keypairs:index"
SHOW = "os_compute_api:os-keypairs:show"
CREATE = "os_compute_api:os-keypairs:create"
DELETE = "os_compute_api:os-keypairs:delete"

RULES = (
    Rule(INDEX, SELF, "List key pairs."),
    Rule(SHOW, SELF, "Show a key pair."),
    Rule(CREATE, SELF, "Create or import a key pair."),
    Rule(DELETE, SELF, "Delete a key pair."),
)
