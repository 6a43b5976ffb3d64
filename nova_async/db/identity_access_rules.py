"""The access rules of users, which their application credentials share."""

from typing import Any

from nova_async.db.database import Connection
from nova_async.db.identity import Page
from nova_async.db.query import Query
from nova_async.model.access_rules import AccessRule

_rule_ensure = Query("identity_access_rules", "rule_ensure", AccessRule)
_rule_delete: Query[Any] = Query("identity_access_rules", "rule_delete")
_rule_show = Query("identity_access_rules", "rule_show", AccessRule)
_rule_list = Query("identity_access_rules", "rule_list", AccessRule)
_rule_count = Query("identity_access_rules", "rule_count", int)
_rule_is_used = Query("identity_access_rules", "rule_is_used", bool)
_rules_of_credential = Query("identity_access_rules", "rules_of_credential", AccessRule)


async def rule_ensure(conn: Connection, user_id: str, r: AccessRule) -> AccessRule:
    """The user's rule that says this; made under the id of ``r`` where there is none yet."""
    return await _rule_ensure.one(conn, r.id, user_id, r.service, r.method, r.path)


async def rule_delete(conn: Connection, rule_id: str) -> None:
    await _rule_delete.run(conn, rule_id)


async def rule_show(conn: Connection, user_id: str, rule_id: str) -> AccessRule | None:
    return await _rule_show.maybe(conn, user_id, rule_id)


async def rule_list(
    conn: Connection, user_id: str, service: str | None, method: str | None, path: str | None, page: Page
) -> list[AccessRule]:
    return await _rule_list.all(conn, user_id, service, method, path, page.marker, page.limit)


async def rule_count(conn: Connection, user_id: str) -> int:
    return await _rule_count.one(conn, user_id)


async def rule_is_used(conn: Connection, user_id: str, rule_id: str) -> bool:
    return await _rule_is_used.one(conn, user_id, rule_id)


async def rules_of_credential(conn: Connection, credential_id: str) -> list[AccessRule]:
    return await _rules_of_credential.all(conn, credential_id)
