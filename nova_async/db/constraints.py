"""The names of constraints, and what breaking one means to the caller."""

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from nova_async.errors import Conflict, Error, Invalid, NotFound

MEANING: dict[str, tuple[type[Error], str]] = {
    "flavors_flavorid_key": (Conflict, "Flavor with this ID already exists."),
    "flavors_name_key": (Conflict, "Flavor with this name already exists."),
    "keypairs_user_name_key": (Conflict, "Key pair already exists for this user under this name."),
    "workflows_one_live_per_subject": (Conflict, "Another operation on this server is still running."),
    "instance_tags_count": (Invalid, "The number of tags exceeded the per-server limit 50."),
}


@contextmanager
def translated() -> Iterator[None]:
    """Raise our error where PostgreSQL refuses to break a constraint; others pass as they are."""
    try:
        yield
    except asyncpg.IntegrityConstraintViolationError as error:
        kind, message = MEANING.get(error.constraint_name or "", (None, ""))
        if kind is not None:
            raise kind(message, detail=str(error)) from error
        if isinstance(error, asyncpg.ForeignKeyViolationError):
            raise NotFound(detail=str(error)) from error
        raise
