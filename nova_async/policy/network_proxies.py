"""Policies of the proxies to the network service."""

from nova_async.policy.rule import ANY, MEMBER, READER, Rule

NETWORKS_LIST = "os_compute_api:os-networks:list"
NETWORKS_SHOW = "os_compute_api:os-networks:show"
TENANT_NETWORKS_LIST = "os_compute_api:os-tenant-networks:list"
TENANT_NETWORKS_SHOW = "os_compute_api:os-tenant-networks:show"
GROUPS_LIST = "os_compute_api:os-security-groups:get"
GROUPS_SHOW = "os_compute_api:os-security-groups:show"
GROUPS_CREATE = "os_compute_api:os-security-groups:create"
GROUPS_UPDATE = "os_compute_api:os-security-groups:update"
GROUPS_DELETE = "os_compute_api:os-security-groups:delete"
RULES_CREATE = "os_compute_api:os-security-groups:rule:create"
RULES_DELETE = "os_compute_api:os-security-groups:rule:delete"
FLOATING_IP_POOLS = "os_compute_api:os-floating-ip-pools"
FLOATING_IPS_LIST = "os_compute_api:os-floating-ips:list"
FLOATING_IPS_SHOW = "os_compute_api:os-floating-ips:show"
FLOATING_IPS_CREATE = "os_compute_api:os-floating-ips:create"
FLOATING_IPS_DELETE = "os_compute_api:os-floating-ips:delete"

RULES = (
    Rule(NETWORKS_LIST, READER, "List networks."),
    Rule(NETWORKS_SHOW, READER, "Show a network."),
    Rule(TENANT_NETWORKS_LIST, READER, "List a project's networks."),
    Rule(TENANT_NETWORKS_SHOW, READER, "Show a network of a project."),
    Rule(GROUPS_LIST, READER, "List security groups."),
    Rule(GROUPS_SHOW, READER, "Show a security group."),
    Rule(GROUPS_CREATE, MEMBER, "Create a security group."),
    Rule(GROUPS_UPDATE, MEMBER, "Change a security group."),
    Rule(GROUPS_DELETE, MEMBER, "Delete a security group."),
    Rule(RULES_CREATE, MEMBER, "Add a rule to a security group."),
    Rule(RULES_DELETE, MEMBER, "Take a rule from a security group."),
    Rule(FLOATING_IP_POOLS, ANY, "List the pools of floating IPs."),
    Rule(FLOATING_IPS_LIST, READER, "List floating IPs."),
    Rule(FLOATING_IPS_SHOW, READER, "Show a floating IP."),
    Rule(FLOATING_IPS_CREATE, MEMBER, "Take a floating IP from a pool."),
    Rule(FLOATING_IPS_DELETE, MEMBER, "Give a floating IP back."),
)
