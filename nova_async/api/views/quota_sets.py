"""What limits look like: of projects and users, and of classes."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from nova_async.api.render import Field, Fields, One
from nova_async.api.request import Request
from nova_async.api.shapes import INTEGER, TEXT, closed
from nova_async.api.versions import LATEST, V
from nova_async.quota import GROUPS, INJECTED, NETWORK, SERVERS


class QuotaSet(NamedTuple):
    """``values``: resource to what is shown of it; ``id``: project or class, where the view has it."""

    values: Mapping[str, Any]
    id: str = ""


def _value(name: str, since: int = V.BASE, until: int = LATEST) -> Field:
    def how(row: QuotaSet, request: Request) -> Any:
        return row.values[name]

    return Field(name, how, since=since, until=until, type=INTEGER)


ID = Field("id", "id", type=TEXT)
OF_PROJECT = (
    *(_value(name) for name in (*SERVERS, *GROUPS)),
    *(_value(name, until=V.NO_PERSONALITY - 1) for name in INJECTED),
    *(_value(name, until=V.NO_PROXIES - 1) for name in NETWORK),
)
OF_CLASS = (
    *(_value(name) for name in SERVERS),
    *(_value(name, since=V.QUOTA_CLASS_GROUPS) for name in GROUPS),
    *(_value(name, until=V.NO_PERSONALITY - 1) for name in INJECTED),
    *(_value(name, until=V.QUOTA_CLASS_GROUPS - 1) for name in NETWORK),
)

USE = closed({"limit": INTEGER, "in_use": INTEGER, "reserved": INTEGER})

SHOW = One("quota_set", Fields((ID, *OF_PROJECT)))
DETAIL = One("quota_set", Fields((ID, *(field._replace(type=USE) for field in OF_PROJECT))))
UPDATED = One("quota_set", Fields(OF_PROJECT))
SHOW_CLASS = One("quota_class_set", Fields((ID, *OF_CLASS)))
UPDATED_CLASS = One("quota_class_set", Fields(OF_CLASS))
