"""Queries of hypervisors."""

from nova_async.api.schema import Query, since
from nova_async.api.schemas import BOOLEAN, LIMIT, TEXT
from nova_async.api.versions import V

NAME_PART = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[a-zA-Z0-9-._]*$"}

LIST = Query(
    {
        "limit": since(V.PAGED_HYPERVISORS, LIMIT),
        "marker": since(V.PAGED_HYPERVISORS, TEXT),
        "hypervisor_hostname_pattern": since(V.SERVICE_UUIDS, NAME_PART),
        "with_servers": since(V.SERVICE_UUIDS, BOOLEAN),
    },
    strict_since=V.SERVICE_UUIDS,
)
SHOW = Query({"with_servers": since(V.SERVICE_UUIDS, BOOLEAN)}, strict_since=V.SERVICE_UUIDS)
ANYTHING = Query({}, strict_since=None)
