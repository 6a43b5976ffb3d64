"""Policies of console tokens."""

from nova_async.policy.rule import ADMIN, Rule

SHOW = "os_compute_api:os-console-auth-tokens"

RULES = (Rule(SHOW, ADMIN, "Show where the console of a token is."),)
