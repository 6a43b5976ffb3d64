"""Policies of hypervisors."""

from nova_async.policy.rule import ADMIN, Rule

LIST = "os_compute_api:os-hypervisors:list"
DETAIL = "os_compute_api:os-hypervisors:list-detail"
STATISTICS = "os_compute_api:os-hypervisors:statistics"
SHOW = "os_compute_api:os-hypervisors:show"
UPTIME = "os_compute_api:os-hypervisors:uptime"
SEARCH = "os_compute_api:os-hypervisors:search"
SERVERS = "os_compute_api:os-hypervisors:servers"

RULES = (
    Rule(LIST, ADMIN, "List hypervisors."),
    Rule(DETAIL, ADMIN, "List hypervisors with details."),
    Rule(STATISTICS, ADMIN, "Sum up what hypervisors have and run."),
    Rule(SHOW, ADMIN, "Show a hypervisor."),
    Rule(UPTIME, ADMIN, "Show how long a hypervisor has been up."),
    Rule(SEARCH, ADMIN, "Find hypervisors by a part of their name."),
    Rule(SERVERS, ADMIN, "List the servers of hypervisors."),
)
