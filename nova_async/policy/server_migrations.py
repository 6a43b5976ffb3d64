"""Policies of a server's live migrations."""

from nova_async.policy.rule import ADMIN, MANAGER, Rule

INDEX = "os_compute_api:servers:migrations:index"
INDEX_HOST = "os_compute_api:servers:migrations:index:host"
SHOW = "os_compute_api:servers:migrations:show"
DELETE = "os_compute_api:servers:migrations:delete"
FORCE_COMPLETE = "os_compute_api:servers:migrations:force_complete"

RULES = (
    Rule(INDEX, MANAGER, "List the live migrations of a server that are under way."),
    Rule(INDEX_HOST, ADMIN, "See the hosts of a server's live migrations."),
    Rule(SHOW, ADMIN, "Show a live migration that is under way."),
    Rule(DELETE, MANAGER, "Abort a live migration."),
    Rule(FORCE_COMPLETE, MANAGER, "Let a live migration end now."),
)
