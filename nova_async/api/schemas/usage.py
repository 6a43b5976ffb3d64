"""Queries of what projects used."""

from nova_async.api.schema import Query, since
from nova_async.api.schemas import LIMIT, TEXT
from nova_async.api.versions import V

SHOW_KEYS = {"start": TEXT, "end": TEXT, "limit": since(V.PAGED_USAGE, LIMIT), "marker": since(V.PAGED_USAGE, TEXT)}

LIST = Query({**SHOW_KEYS, "detailed": TEXT}, strict_since=V.STRICT_QUERIES)
SHOW = Query(SHOW_KEYS, strict_since=V.STRICT_QUERIES)
