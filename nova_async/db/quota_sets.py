"""Limits that operators set, and what counts against them.

Rows of the class "default" have neither project nor user; those of other classes have the class's name for a user.
"""

import msgspec

from nova_async.db import Connection, Query

DEFAULT_CLASS = "default"


class Limit(msgspec.Struct):
    """-1: without limit."""

    resource: str
    hard_limit: int


class Usage(msgspec.Struct):
    """``ram`` in MiB."""

    instances: int
    cores: int
    ram: int
    server_groups: int


EFFECTIVE = Query("quota_sets", "effective", Limit)
OF_CLASS = Query("quota_sets", "of_class", Limit)
OF_USER = Query("quota_sets", "of_user", Limit)
GIVEN_TO_USERS = Query("quota_sets", "given_to_users", Limit)
SET = Query[None]("quota_sets", "set")
FORGET = Query[None]("quota_sets", "forget")
USAGE = Query("quota_sets", "usage", Usage)
SERIALIZE = Query[bool]("quota_sets", "serialize", bool)


async def effective(conn: Connection, project_id: str, user_id: str = "") -> dict[str, int]:
    """Resource to limit, where an operator set one; the configuration has the rest."""
    return _table(await EFFECTIVE.all(conn, project_id, user_id))


async def of_class(conn: Connection, name: str) -> dict[str, int]:
    return _table(await OF_CLASS.all(conn, _class(name)))


async def of_user(conn: Connection, project_id: str, user_id: str) -> dict[str, int]:
    """Those that were set for one user of a project alone."""
    return _table(await OF_USER.all(conn, project_id, user_id))


async def given_to_users(conn: Connection, project_id: str, *, but: str = "") -> dict[str, int]:
    """Sums of the limits of the project's users, one user left out; unlimited ones do not count."""
    return _table(await GIVEN_TO_USERS.all(conn, project_id, but))


async def put(conn: Connection, project_id: str, user_id: str, limits: dict[str, int]) -> None:
    await SET.run(conn, project_id, user_id, list(limits), list(limits.values()))


async def put_class(conn: Connection, name: str, limits: dict[str, int]) -> None:
    await SET.run(conn, "", _class(name), list(limits), list(limits.values()))


async def forget(conn: Connection, project_id: str, user_id: str = "") -> None:
    """Of one user, or of the project and all its users."""
    await FORGET.run(conn, project_id, user_id)


async def usage(conn: Connection, project_id: str, user_id: str = "") -> dict[str, int]:
    """Resource to use, of those that are counted."""
    return msgspec.structs.asdict(await USAGE.one(conn, project_id, user_id))


async def serialize(conn: Connection, project_id: str) -> None:
    """Others who change these limits wait until the caller's transaction ends."""
    await SERIALIZE.one(conn, project_id)


def _class(name: str) -> str:
    return "" if name == DEFAULT_CLASS else name


def _table(rows: list[Limit]) -> dict[str, int]:
    return {row.resource: row.hard_limit for row in rows}
