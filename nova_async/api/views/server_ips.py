"""What the addresses of a server look like."""

from typing import Any

from nova_async.api.render import Plain
from nova_async.api.request import Request

NETWORKS = {"type": "object", "additionalProperties": {"type": "array"}}


def _all(networks: dict[str, Any], request: Request) -> Any:
    return {"addresses": networks}


def _one(networks: dict[str, Any], request: Request) -> Any:
    return networks


ALL = Plain(_all, {"type": "object", "properties": {"addresses": NETWORKS}, "required": ["addresses"]})
ONE = Plain(_one, NETWORKS)
