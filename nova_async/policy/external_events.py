"""Policies of events that other services tell of."""

from nova_async.policy.rule import SERVICE, Rule

CREATE = "os_compute_api:os-server-external-events:create"

RULES = (Rule(CREATE, SERVICE, "Tell of something that happened to servers outside."),)
