"""What the tags of a server look like."""

from typing import Any

from nova_async.api.render import Plain
from nova_async.api.request import Request
from nova_async.api.shapes import STRINGS, closed


def _all(tags: list[str], request: Request) -> Any:
    return {"tags": tags}


ALL = Plain(_all, closed({"tags": STRINGS}))
