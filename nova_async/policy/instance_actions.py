"""Policies of what was done to a server."""

from nova_async.policy.rule import ADMIN, READER, Rule

LIST = "os_compute_api:os-instance-actions:list"
SHOW = "os_compute_api:os-instance-actions:show"
EVENTS = "os_compute_api:os-instance-actions:events"
EVENT_DETAILS = "os_compute_api:os-instance-actions:events:details"

RULES = (
    Rule(LIST, READER, "List what was done to a server."),
    Rule(SHOW, READER, "Show something that was done to a server."),
    Rule(EVENTS, ADMIN, "See host and traceback of the events of an action."),
    Rule(EVENT_DETAILS, ADMIN, "See what went wrong in an event of an action."),
)
