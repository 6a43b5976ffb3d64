"""Policies of the password that a guest encrypted and posted."""

from nova_async.policy.rule import MEMBER, READER, Rule

SHOW = "os_compute_api:os-server-password:show"
CLEAR = "os_compute_api:os-server-password:clear"

RULES = (
    Rule(SHOW, READER, "Read a server's encrypted password."),
    Rule(CLEAR, MEMBER, "Forget a server's encrypted password."),
)
