"""Queries of the proxy to the image service. Its bodies are those of server metadata."""

from nova_async.api.schema import Query
from nova_async.api.schemas import POSITIVE, TEXT

LIST = Query(
    {
        "name": TEXT,
        "status": TEXT,
        "changes-since": TEXT,
        "server": TEXT,
        "type": TEXT,
        "minRam": TEXT,
        "minDisk": TEXT,
        "limit": POSITIVE,
        "page_size": POSITIVE,
        "marker": TEXT,
    },
    prefix="property-",
)
