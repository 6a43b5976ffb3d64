"""What a server group looks like."""

from typing import Any

from nova_async.api.render import Field, Fields, Many, One
from nova_async.api.request import Request
from nova_async.api.versions import V
from nova_async.model.server_groups import ServerGroup

TEXT = {"type": "string"}
TEXTS = {"type": "array", "items": TEXT}
OBJECT = {"type": "object"}


def _rules(group: ServerGroup, request: Request) -> dict[str, Any]:
    return {} if group.max_server_per_host is None else {"max_server_per_host": group.max_server_per_host}


FIELDS = Fields(
    (
        Field("id", "id", type=TEXT),
        Field("name", "name", type=TEXT),
        Field("policies", lambda g, _: [g.policy], until=V.SERVER_GROUP_RULES - 1, type=TEXTS),
        Field("metadata", lambda g, _: {}, until=V.SERVER_GROUP_RULES - 1, type=OBJECT),
        Field("policy", "policy", since=V.SERVER_GROUP_RULES, type=TEXT),
        Field("rules", _rules, since=V.SERVER_GROUP_RULES, type=OBJECT),
        Field("members", "members", type=TEXTS),
        Field("project_id", "project_id", since=V.SERVER_GROUP_OWNER, type=TEXT),
        Field("user_id", "user_id", since=V.SERVER_GROUP_OWNER, type=TEXT),
    )
)

SHOW = One("server_group", FIELDS)
LIST = Many("server_groups", FIELDS)
