"""What server metadata looks like."""

from typing import Any

from nova_async.api.render import Plain
from nova_async.api.request import Request
from nova_async.api.shapes import ITEMS, closed


def _all(items: dict[str, str], request: Request) -> Any:
    return {"metadata": items}


def _one(items: dict[str, str], request: Request) -> Any:
    return {"meta": items}


ALL = Plain(_all, closed({"metadata": ITEMS}))
ONE = Plain(_one, closed({"meta": ITEMS}))
