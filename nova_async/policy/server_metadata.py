"""Policies of the metadata of a server."""

from nova_async.policy.rule import MEMBER, READER, Rule

INDEX = "os_compute_api:server-metadata:index"
SHOW = "os_compute_api:server-metadata:show"
CREATE = "os_compute_api:server-metadata:create"
UPDATE_ALL = "os_compute_api:server-metadata:update_all"
UPDATE = "os_compute_api:server-metadata:update"
DELETE = "os_compute_api:server-metadata:delete"

RULES = (
    Rule(INDEX, READER, "List the metadata of a server."),
    Rule(SHOW, READER, "Show one item of a server's metadata."),
    Rule(CREATE, MEMBER, "Add to the metadata of a server."),
    Rule(UPDATE_ALL, MEMBER, "Replace the metadata of a server."),
    Rule(UPDATE, MEMBER, "Change one item of a server's metadata."),
    Rule(DELETE, MEMBER, "Delete one item of a server's metadata."),
)
