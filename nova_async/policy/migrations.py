"""Policies of moves as os-migrations lists them."""

from nova_async.policy.rule import ADMIN, MANAGER, Rule

INDEX = "os_compute_api:os-migrations:index"
INDEX_ALL = "os_compute_api:os-migrations:index:all_projects"
INDEX_HOST = "os_compute_api:os-migrations:index:host"

RULES = (
    Rule(INDEX, MANAGER, "List the migrations that one's project began."),
    Rule(INDEX_ALL, ADMIN, "List the migrations of all projects."),
    Rule(INDEX_HOST, ADMIN, "See the hosts of migrations."),
)
