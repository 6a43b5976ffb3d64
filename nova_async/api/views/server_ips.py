"""What the addresses of a server look like."""

from typing import Any

from nova_async.api.render import Plain
from nova_async.api.request import Request
from nova_async.api.shapes import ADDRESS, INTEGER, array, closed, mapping

NETWORKS = mapping(array(closed({"version": INTEGER, "addr": ADDRESS})))


def _all(networks: dict[str, Any], request: Request) -> Any:
    return {"addresses": networks}


def _one(networks: dict[str, Any], request: Request) -> Any:
    return networks


ALL = Plain(_all, closed({"addresses": NETWORKS}))
ONE = Plain(_one, NETWORKS)
