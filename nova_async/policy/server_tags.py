"""Policies of the tags of a server."""

from nova_async.policy.rule import MEMBER, READER, Rule

INDEX = "os_compute_api:os-server-tags:index"
SHOW = "os_compute_api:os-server-tags:show"
UPDATE = "os_compute_api:os-server-tags:update"
UPDATE_ALL = "os_compute_api:os-server-tags:update_all"
DELETE = "os_compute_api:os-server-tags:delete"
DELETE_ALL = "os_compute_api:os-server-tags:delete_all"

RULES = (
    Rule(INDEX, READER, "List the tags of a server."),
    Rule(SHOW, READER, "Ask whether a server has a tag."),
    Rule(UPDATE, MEMBER, "Add a tag to a server."),
    Rule(UPDATE_ALL, MEMBER, "Replace the tags of a server."),
    Rule(DELETE, MEMBER, "Take a tag from a server."),
    Rule(DELETE_ALL, MEMBER, "Take all tags from a server."),
)
