"""What the tags of a server look like."""

from typing import Any

from nova_async.api.render import Plain
from nova_async.api.request import Request


def _all(tags: list[str], request: Request) -> Any:
    return {"tags": tags}


ALL = Plain(_all, {"type": "object", "properties": {"tags": {"type": "array", "items": {"type": "string"}}}, "required": ["tags"]})
