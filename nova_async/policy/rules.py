"""The list of all policies, gathered from one module per noun, and the basic rules that they are made of."""

from nova_async.policy import (
    aggregates,
    availability_zones,
    flavors,
    hypervisors,
    instance_actions,
    keypairs,
    limits,
    quota_class_sets,
    quota_sets,
    server_interfaces,
    server_ips,
    server_metadata,
    server_passwords,
    server_scheduling,
    server_tags,
    servers,
    services,
    versions,
)
from nova_async.policy.rule import Rule

BASIC: tuple[Rule, ...] = (
    Rule("context_is_admin", "role:admin"),
    Rule("admin_or_owner", "is_admin:True or project_id:%(project_id)s"),
    Rule("admin_api", "is_admin:True"),
    Rule("project_manager_api", "role:manager and project_id:%(project_id)s"),
    Rule("project_member_api", "role:member and project_id:%(project_id)s"),
    Rule("project_reader_api", "role:reader and project_id:%(project_id)s"),
    Rule("service_api", "role:service"),
    Rule("project_manager_or_admin", "rule:project_manager_api or rule:context_is_admin"),
    Rule("project_member_or_admin", "rule:project_member_api or rule:context_is_admin"),
    Rule("project_reader_or_admin", "rule:project_reader_api or rule:context_is_admin"),
    Rule("service_or_admin", "rule:service_api or rule:context_is_admin"),
)

RULES: tuple[Rule, ...] = (
    *BASIC,
    *versions.RULES,
    *flavors.RULES,
    *keypairs.RULES,
    *quota_sets.RULES,
    *quota_class_sets.RULES,
    *limits.RULES,
    *aggregates.RULES,
    *availability_zones.RULES,
    *hypervisors.RULES,
    *services.RULES,
    *servers.RULES,
    *server_metadata.RULES,
    *server_tags.RULES,
    *server_ips.RULES,
    *server_interfaces.RULES,
    *server_passwords.RULES,
    *server_scheduling.RULES,
    *instance_actions.RULES,
)
