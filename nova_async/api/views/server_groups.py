"""What a server group looks like."""

from typing import Any

from nova_async.api.render import Field, Fields, Many, One
from nova_async.api.request import Request
from nova_async.api.shapes import INTEGER, STRINGS, TEXT, UUID, closed
from nova_async.api.versions import V
from nova_async.model.server_groups import ServerGroup


def _rules(group: ServerGroup, request: Request) -> dict[str, Any]:
    return {} if group.max_server_per_host is None else {"max_server_per_host": group.max_server_per_host}


RULES = closed({"max_server_per_host": INTEGER}, ("max_server_per_host",))
FIELDS = Fields(
    (
        Field("id", "id", type=UUID),
        Field("name", "name", type=TEXT),
        Field("policies", lambda g, _: [g.policy], until=V.SERVER_GROUP_RULES - 1, type=STRINGS),
        Field("metadata", lambda g, _: {}, until=V.SERVER_GROUP_RULES - 1, type=closed({})),
        Field("policy", "policy", since=V.SERVER_GROUP_RULES, type=TEXT),
        Field("rules", _rules, since=V.SERVER_GROUP_RULES, type=RULES),
        Field("members", "members", type=STRINGS),
        Field("project_id", "project_id", since=V.SERVER_GROUP_OWNER, type=TEXT),
        Field("user_id", "user_id", since=V.SERVER_GROUP_OWNER, type=TEXT),
    )
)

SHOW = One("server_group", FIELDS)
LIST = Many("server_groups", FIELDS)
