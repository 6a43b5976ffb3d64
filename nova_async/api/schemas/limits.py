"""Queries of the summary of limits."""

from nova_async.api.schema import Query
from nova_async.api.schemas import TEXT
from nova_async.api.versions import V

SHOW = Query({"tenant_id": TEXT}, strict_since=V.STRICT_QUERIES)
