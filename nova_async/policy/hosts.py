"""Policies of hosts as versions before 2.43 know them."""

from nova_async.policy.rule import ADMIN, Rule

LIST = "os_compute_api:os-hosts:list"
SHOW = "os_compute_api:os-hosts:show"
UPDATE = "os_compute_api:os-hosts:update"
REBOOT = "os_compute_api:os-hosts:reboot"
SHUTDOWN = "os_compute_api:os-hosts:shutdown"
STARTUP = "os_compute_api:os-hosts:start"

RULES = (
    Rule(LIST, ADMIN, "List hosts."),
    Rule(SHOW, ADMIN, "Show what a host has and what projects use of it."),
    Rule(UPDATE, ADMIN, "Enable or disable a host."),
    Rule(REBOOT, ADMIN, "Reboot a host."),
    Rule(SHUTDOWN, ADMIN, "Shut a host down."),
    Rule(STARTUP, ADMIN, "Start a host."),
)
