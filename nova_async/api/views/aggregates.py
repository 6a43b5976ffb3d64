"""What a host aggregate looks like."""

from nova_async.api.render import Field, Fields, Many, One, microseconds
from nova_async.api.shapes import BOOLEAN, INTEGER, ITEMS, MAYBE_TEXT, MICROSECONDS, NULL, STRINGS, TEXT, UUID, nullable
from nova_async.api.versions import V

CREATED = (
    Field("id", "id", type=INTEGER),
    Field("uuid", "uuid", since=V.AGGREGATE_UUID, type=UUID),
    Field("name", "name", type=TEXT),
    Field("availability_zone", "zone", type=MAYBE_TEXT),
    Field("created_at", lambda a, _: microseconds(a.created_at), type=MICROSECONDS),
    Field("updated_at", lambda a, _: microseconds(a.updated_at), type=nullable(MICROSECONDS)),
    Field("deleted_at", lambda a, _: None, type=NULL),
    Field("deleted", lambda a, _: False, type=BOOLEAN),
)
FIELDS = Fields(
    (
        *CREATED,
        Field("hosts", "hosts", type=STRINGS),
        Field("metadata", "metadata", type=ITEMS),
    )
)

CREATE = One("aggregate", Fields(CREATED))
SHOW = One("aggregate", FIELDS)
LIST = Many("aggregates", FIELDS)
