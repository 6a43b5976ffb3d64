"""Queries of what was done to a server."""

from nova_async.api.schema import Query, since
from nova_async.api.schemas import LIMIT, TEXT
from nova_async.api.versions import V

MOMENT = {"type": "string", "format": "date-time"}

LIST = Query(
    {
        "limit": since(V.PAGED_ACTIONS, LIMIT),
        "marker": since(V.PAGED_ACTIONS, TEXT),
        "changes-since": since(V.PAGED_ACTIONS, MOMENT),
        "changes-before": since(V.CHANGES_BEFORE, MOMENT),
    },
    strict_since=V.PAGED_ACTIONS,
    single=frozenset({"limit", "marker", "changes-since", "changes-before"}),
)
