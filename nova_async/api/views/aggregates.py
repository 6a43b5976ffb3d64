"""What a host aggregate looks like."""

from nova_async.api.render import Field, Fields, Many, One, microseconds
from nova_async.api.versions import V

TEXT = {"type": "string"}
MAYBE_TEXT = {"type": ["string", "null"]}

CREATED = (
    Field("id", "id", type={"type": "integer"}),
    Field("uuid", "uuid", since=V.AGGREGATE_UUID, type=TEXT),
    Field("name", "name", type=TEXT),
    Field("availability_zone", "zone", type=MAYBE_TEXT),
    Field("created_at", lambda a, _: microseconds(a.created_at), type=TEXT),
    Field("updated_at", lambda a, _: microseconds(a.updated_at), type=MAYBE_TEXT),
    Field("deleted_at", lambda a, _: None, type={"type": "null"}),
    Field("deleted", lambda a, _: False, type={"type": "boolean"}),
)
FIELDS = Fields(
    (
        *CREATED,
        Field("hosts", "hosts", type={"type": "array", "items": TEXT}),
        Field("metadata", "metadata", type={"type": "object"}),
    )
)

CREATE = One("aggregate", Fields(CREATED))
SHOW = One("aggregate", FIELDS)
LIST = Many("aggregates", FIELDS)
