"""Policies of what describes the service itself."""

from nova_async.policy.rule import ANY, Rule

EXTENSIONS = "os_compute_api:extensions"

RULES = (Rule(EXTENSIONS, ANY, "List the extensions."),)
