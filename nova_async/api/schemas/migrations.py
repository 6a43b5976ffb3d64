"""Queries of moves, and what may be asked of one."""

from nova_async.api.schema import Query, Schema, since
from nova_async.api.schemas import LIMIT, TEXT
from nova_async.api.versions import V

MOMENT = {"type": "string", "format": "date-time"}

LIST = Query(
    {
        "hidden": TEXT,
        "host": TEXT,
        "instance_uuid": TEXT,
        "source_compute": TEXT,
        "status": TEXT,
        "migration_type": TEXT,
        "limit": since(V.PAGED_MIGRATIONS, LIMIT),
        "marker": since(V.PAGED_MIGRATIONS, TEXT),
        "changes-since": since(V.PAGED_MIGRATIONS, MOMENT),
        "changes-before": since(V.CHANGES_BEFORE, MOMENT),
        "user_id": since(V.MIGRATION_OWNER, TEXT),
        "project_id": since(V.MIGRATION_OWNER, TEXT),
    },
    strict_since=V.PAGED_MIGRATIONS,
    single=frozenset({"limit", "marker", "changes-since", "changes-before", "user_id", "project_id"}),
)
FORCE_COMPLETE = Schema(
    {
        "type": "object",
        "properties": {"force_complete": {"type": "null"}},
        "required": ["force_complete"],
        "additionalProperties": False,
    }
)
