"""What users keep in the identity service for others to ask for: certificates, keys of EC2 and the like."""

from typing import Any

import msgspec

from nova_async.db.database import Connection
from nova_async.db.identity import Page
from nova_async.db.query import Query


class UserCredential(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    user_id: str
    project_id: str | None = None
    type: str
    sealed_blob: bytes


class CredentialFilter(msgspec.Struct, frozen=True, kw_only=True):
    user_id: str | None = None
    type: str | None = None
    project_id: str | None = None


_credentials_lock = Query("identity_user_credentials", "credentials_lock", str)
_any_credential = Query("identity_user_credentials", "any_credential", bool)
_credential_insert: Query[Any] = Query("identity_user_credentials", "credential_insert")
_credential_update: Query[Any] = Query("identity_user_credentials", "credential_update")
_credential_delete: Query[Any] = Query("identity_user_credentials", "credential_delete")
_credential_show = Query("identity_user_credentials", "credential_show", UserCredential)
_credential_lock = Query("identity_user_credentials", "credential_lock", UserCredential)
_credential_list = Query("identity_user_credentials", "credential_list", UserCredential)
_credential_count = Query("identity_user_credentials", "credential_count", int)


async def is_first(conn: Connection) -> bool:
    """Whether there is none yet; nobody else finds out, and makes one, before the transaction ends."""
    await _credentials_lock.one(conn)
    return not await _any_credential.one(conn)


async def credential_insert(conn: Connection, c: UserCredential) -> None:
    await _credential_insert.run(conn, c.id, c.user_id, c.project_id, c.type, c.sealed_blob)


async def credential_update(conn: Connection, c: UserCredential) -> None:
    await _credential_update.run(conn, c.id, c.user_id, c.project_id, c.type, c.sealed_blob)


async def credential_delete(conn: Connection, credential_id: str) -> None:
    await _credential_delete.run(conn, credential_id)


async def credential_show(conn: Connection, credential_id: str) -> UserCredential | None:
    return await _credential_show.maybe(conn, credential_id)


async def credential_lock(conn: Connection, credential_id: str) -> UserCredential | None:
    return await _credential_lock.maybe(conn, credential_id)


async def credential_list(conn: Connection, f: CredentialFilter, page: Page) -> list[UserCredential]:
    return await _credential_list.all(conn, f.user_id, f.type, f.project_id, page.marker, page.limit)


async def credential_count(conn: Connection, user_id: str) -> int:
    return await _credential_count.one(conn, user_id)
