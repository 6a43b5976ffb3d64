"""What server metadata looks like."""

from typing import Any

from nova_async.api.render import Plain
from nova_async.api.request import Request

ITEMS = {"type": "object", "additionalProperties": {"type": "string"}}


def _all(items: dict[str, str], request: Request) -> Any:
    return {"metadata": items}


def _one(items: dict[str, str], request: Request) -> Any:
    return {"meta": items}


ALL = Plain(_all, {"type": "object", "properties": {"metadata": ITEMS}, "required": ["metadata"]})
ONE = Plain(_one, {"type": "object", "properties": {"meta": ITEMS}, "required": ["meta"]})
