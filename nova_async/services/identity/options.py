"""Keystone's resource options: what is set for users, projects, domains and roles beside their fields."""

from typing import Any

from nova_async.errors import Forbidden

Options = dict[str, Any]


def merged(old: Options, new: Options) -> Options:
    """``old`` with what ``new`` says; null takes an option away."""
    return {name: value for name, value in {**old, **new}.items() if value is not None}


def require_mutable(what: str, id_: str, options: Options, fields: dict[str, Any] | None = None) -> None:
    """Raises ``Forbidden`` where ``what`` is immutable.

    ``fields`` is the wanted change, None to delete it. A change that does nothing but end its being so is allowed.
    """
    if not options.get("immutable"):
        return
    if fields is not None and set(fields) == {"options"} and not fields["options"].get("immutable", True):
        return
    verb = "delete" if fields is None else "update"
    raise Forbidden(f"Unable to {verb} immutable {what} resource: {id_}. Set resource option 'immutable' to false first.")
