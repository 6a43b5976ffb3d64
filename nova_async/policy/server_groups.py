"""Policies of server groups."""

from nova_async.policy.rule import ADMIN, MEMBER, READER, Rule

INDEX = "os_compute_api:os-server-groups:index"
INDEX_ALL = "os_compute_api:os-server-groups:index:all_projects"
CREATE = "os_compute_api:os-server-groups:create"
SHOW = "os_compute_api:os-server-groups:show"
DELETE = "os_compute_api:os-server-groups:delete"

RULES = (
    Rule(INDEX, READER, "List server groups."),
    Rule(INDEX_ALL, ADMIN, "List the server groups of all projects."),
    Rule(CREATE, MEMBER, "Create a server group."),
    Rule(SHOW, READER, "Show a server group."),
    Rule(DELETE, MEMBER, "Delete a server group."),
)
