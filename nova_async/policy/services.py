"""Policies of the services that make up the compute service."""

from nova_async.policy.rule import ADMIN, Rule

LIST = "os_compute_api:os-services:list"
UPDATE = "os_compute_api:os-services:update"
DELETE = "os_compute_api:os-services:delete"

RULES = (
    Rule(LIST, ADMIN, "List services."),
    Rule(UPDATE, ADMIN, "Enable, disable or force down a service."),
    Rule(DELETE, ADMIN, "Forget a service."),
)
