"""What may stand in a body: each attribute has a reader that returns the value or raises ``Invalid`` naming it."""

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Any

from nova_async.errors import Invalid
from nova_async.model.names import HOST_NAME
from nova_async.services.network.checks import is_uuid

Reader = Callable[[str, Any], Any]
MAC = re.compile(r"([0-9a-f]{2}:){5}[0-9a-f]{2}")


def read(body: dict[str, Any], wrapper: str, readers: Mapping[str, Reader]) -> dict[str, Any]:
    """The attributes inside ``{wrapper: {...}}``, each through its reader. Raises ``Invalid`` for unknown ones."""
    inside = body.get(wrapper)
    if not isinstance(inside, dict):
        raise Invalid(f"Unable to find '{wrapper}' in request body.")
    inside = {("project_id" if name == "tenant_id" else name): value for name, value in inside.items()}
    unknown = sorted(set(inside) - set(readers))
    if unknown:
        raise Invalid(f"Unrecognized attribute(s) '{', '.join(unknown)}'.")
    return {name: readers[name](name, value) for name, value in inside.items()}


def text(limit: int) -> Reader:
    def reader(name: str, value: Any) -> str:
        if not isinstance(value, str) or len(value) > limit or "\0" in value:
            raise Invalid(f"Invalid input for {name}: it must be text of at most {limit} characters.")
        return value

    return reader


def boolean(name: str, value: Any) -> bool:
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool) and value not in (0, 1):
        raise Invalid(f"Invalid input for {name}: it must be true or false.")
    return bool(value)


def integer(low: int, high: int) -> Reader:
    def reader(name: str, value: Any) -> int:
        if isinstance(value, str) and re.fullmatch(r"-?\d{1,9}", value):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise Invalid(f"Invalid input for {name}: it must be a number from {low} to {high}.")
        return value

    return reader


def one_of(*choices: Any) -> Reader:
    def reader(name: str, value: Any) -> Any:
        if value not in choices:
            raise Invalid(f"Invalid input for {name}: it must be one of {', '.join(map(str, choices))}.")
        return value

    return reader


def identifier(name: str, value: Any) -> str:
    if not isinstance(value, str) or not is_uuid(value):
        raise Invalid(f"Invalid input for {name}: it must be a UUID.")
    return value.lower()


def address(name: str, value: Any) -> str:
    try:
        return str(ipaddress.ip_address(value if isinstance(value, str) and "%" not in value else ""))
    except ValueError:
        raise Invalid(f"Invalid input for {name}: it must be an IP address.") from None


def prefix(name: str, value: Any) -> str:
    """A CIDR without host bits; a bare address is its own prefix."""
    try:
        return str(ipaddress.ip_network(value if isinstance(value, str) and "%" not in value else "", strict=False))
    except ValueError:
        raise Invalid(f"Invalid input for {name}: it must be a CIDR, such as 10.0.0.0/24.") from None


def address_or_prefix(name: str, value: Any) -> str:
    """A CIDR without host bits, or a bare address as such."""
    text = prefix(name, value)
    return text if "/" in str(value) else text.partition("/")[0]


def prefix_as_written(name: str, value: Any) -> str:
    """A CIDR that may have host bits, which are kept; a bare address is its own prefix."""
    prefix(name, value)
    return str(ipaddress.ip_interface(value))


def mac(name: str, value: Any) -> str:
    lower = value.lower().replace("-", ":") if isinstance(value, str) else ""
    if not MAC.fullmatch(lower) or int(lower[:2], 16) & 1:
        raise Invalid(f"Invalid input for {name}: it must be the MAC address of one card.")
    return lower


def host_name(name: str, value: Any) -> str:
    if value == "":
        return ""
    if not isinstance(value, str) or len(value) > 255 or not HOST_NAME.fullmatch(value):
        raise Invalid(f"Invalid input for {name}: it must be a host name.")
    return value


def maybe(reader: Reader) -> Reader:
    return lambda name, value: None if value is None else reader(name, value)


def list_of(reader: Reader, limit: int = 64) -> Reader:
    def read_all(name: str, value: Any) -> list[Any]:
        if value is None:
            return []
        if not isinstance(value, list) or len(value) > limit:
            raise Invalid(f"Invalid input for {name}: it must be a list of at most {limit}.")
        return [reader(name, item) for item in value]

    return read_all


def record(**readers: Reader) -> Reader:
    """An object with some of these members and no others."""

    def read_one(name: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict) or not value or not set(value) <= set(readers):
            raise Invalid(f"Invalid input for {name}: an object with {', '.join(readers)} is expected.")
        return {member: readers[member](f"{name}.{member}", item) for member, item in value.items() if item is not None}

    return read_one


def plain_object(name: str, value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict) or len(str(value)) > 4095:
        raise Invalid(f"Invalid input for {name}: a small object is expected.")
    return value


def nothing(name: str, value: Any) -> None:
    """An attribute of an extension that is not here: only what asks for nothing is taken, since clients write defaults out."""
    if value not in (None, "", False, [], {}):
        raise Invalid(f"Unrecognized attribute(s) '{name}'.")


def ignored(name: str, value: Any) -> None:
    """An attribute that Neutron has and that changes nothing here."""
