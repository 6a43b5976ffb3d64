"""Credentials that users keep here for others to ask for; those of the type ``ec2`` have an API of their own, too.

Blobs are sealed with the key in ``<state_dir>/credentials.key``. No token is made from any of them.
"""

import asyncio
import hashlib
from typing import Any

import msgspec
from aiohttp import web

from nova_async.db import Connection
from nova_async.db import identity as db
from nova_async.db import identity_user_credentials as rows
from nova_async.errors import Forbidden, Invalid
from nova_async.services.identity import bodies, views
from nova_async.services.identity.call import Call, could_not_find, empty
from nova_async.services.identity.handlers.credentials import RESTRICTED, check_unrestricted, is_restricted

EC2 = "ec2"
MAX_PER_USER = 100
FOR_GOOD = ("trust_id", "app_cred_id", "access_token_id", "access_id")  # in the blob of one for EC2


async def create(call: Call) -> web.Response:
    body, _ = await call.inner("credential", bodies.UserCredentialBody)
    bodies.complete(body)
    fields = bodies.given(body)
    blob = fields.pop("blob")
    _check_owner(call, fields["user_id"], fields.get("project_id"))
    credential_id = call.new_id()
    if _is_ec2(fields["type"]):
        await check_unrestricted(call)
        blob = _marked(call, blob)
        credential_id = _ec2_id(_opened(blob)["access"])
    credential = rows.UserCredential(id=credential_id, sealed_blob=b"", **fields)
    await _keep(call, credential, blob)
    return call.one("credential", views.user_credential(call.base, credential, blob), 201)


async def list_(call: Call) -> web.Response:
    """One's own, or, for administrators and readers of the system, those of all."""
    asked = rows.CredentialFilter(user_id=call.text("user_id"), type=call.text("type"), project_id=_only_project(call))
    own = msgspec.structs.replace(asked, user_id=call.token.user_id)
    hidden = not call.reads_all and asked.user_id not in (None, own.user_id)
    async with call.identity.database.connection() as conn:
        found = [] if hidden else await rows.credential_list(conn, asked if call.reads_all else own, call.page)
    blobs = await _open(call, *found)
    return call.many("credentials", [views.user_credential(call.base, c, blob) for c, blob in zip(found, blobs, strict=True)])


async def show(call: Call) -> web.Response:
    async with call.identity.database.connection() as conn:
        credential = _own(call, await rows.credential_show(conn, call.id("credential_id")))
    (blob,) = await _open(call, credential)
    return call.one("credential", views.user_credential(call.base, credential, blob))


async def update(call: Call) -> web.Response:
    """The id stays, also where another access key for EC2 is given."""
    body, _ = await call.inner("credential", bodies.UserCredentialBody)
    fields, restricted = bodies.given(body), await is_restricted(call)
    async with call.identity.database.transaction() as conn:
        old = _own(call, await rows.credential_lock(conn, call.id("credential_id")))
        (old_blob,) = await _open(call, old)
        blob = fields.pop("blob", old_blob)
        new = msgspec.structs.replace(old, **fields)
        _check_owner(call, new.user_id, new.project_id)
        if _is_ec2(old.type) or _is_ec2(new.type):
            _check_change(old, new, old_blob, blob, restricted)
        await _check_exist(conn, new)
        new = msgspec.structs.replace(new, sealed_blob=await _seal(call, new.id, blob, first=False))
        await rows.credential_update(conn, new)
    return call.one("credential", views.user_credential(call.base, new, blob))


async def delete(call: Call) -> web.Response:
    restricted = await is_restricted(call)
    async with call.identity.database.transaction() as conn:
        credential = _own(call, await rows.credential_lock(conn, call.id("credential_id")))
        if restricted and _is_ec2(credential.type):
            raise Forbidden(RESTRICTED)
        await rows.credential_delete(conn, credential.id)
    return empty()


# EC2


async def create_ec2(call: Call) -> web.Response:
    body = await call.read(bodies.Ec2Body)
    _check_member(call)
    await check_unrestricted(call)
    _check_owner(call, call.id("user_id"), body.tenant_id)
    made = {"access": call.new_id(), "secret": call.identity.world.secret(), "trust_id": None}
    blob = _marked(call, msgspec.json.encode(made).decode())
    credential_id = _ec2_id(str(made["access"]))
    credential = rows.UserCredential(id=credential_id, user_id=call.id("user_id"), project_id=body.tenant_id, type=EC2, sealed_blob=b"")
    await _keep(call, credential, blob)
    return call.one("credential", views.ec2_credential(call.base, credential, _opened(blob)), 201)


async def list_ec2(call: Call) -> web.Response:
    filters = rows.CredentialFilter(user_id=call.id("user_id"), type=EC2, project_id=_only_project(call))
    async with call.identity.database.connection() as conn:
        if await db.user_show(conn, call.id("user_id")) is None:
            raise could_not_find("user", call.id("user_id"))
        found = await rows.credential_list(conn, filters, db.Page())
    blobs = await _open(call, *found)
    return call.many("credentials", [views.ec2_credential(call.base, c, _opened(blob)) for c, blob in zip(found, blobs, strict=True)])


async def show_ec2(call: Call) -> web.Response:
    async with call.identity.database.connection() as conn:
        credential = await _ec2(conn, call)
    (blob,) = await _open(call, credential)
    return call.one("credential", views.ec2_credential(call.base, credential, _opened(blob)))


async def delete_ec2(call: Call) -> web.Response:
    _check_member(call)
    await check_unrestricted(call)
    async with call.identity.database.transaction() as conn:
        await rows.credential_delete(conn, (await _ec2(conn, call)).id)
    return empty()


async def _ec2(conn: Connection, call: Call) -> rows.UserCredential:
    credential = await rows.credential_show(conn, _ec2_id(call.id("access")))
    if credential is None or credential.user_id != call.id("user_id") or not _is_ec2(credential.type):
        raise could_not_find("EC2 access key", call.id("access"))
    return _own(call, credential)


def _check_member(call: Call) -> None:
    if not call.is_admin and "member" not in call.token.roles:
        raise Forbidden("Credentials for EC2 are made and deleted by members of a project.")


# Whose they are


def _own(call: Call, credential: rows.UserCredential | None) -> rows.UserCredential:
    """One that the caller may ask for, or (other than GET) change. Only those who may have all hear that there is none."""
    may_have_all = call.is_admin or (call.request.method in ("GET", "HEAD") and call.reads_all)
    if credential is None and may_have_all:
        raise could_not_find("credential", call.id("credential_id"))
    if credential is None or not (may_have_all or credential.user_id == call.token.user_id):
        raise Forbidden()
    _check_project(call, credential.project_id)
    return credential


def _check_owner(call: Call, user_id: str, project_id: str | None) -> None:
    if user_id != call.token.user_id and not call.is_admin:
        raise Forbidden("Credentials are made for oneself, or by an administrator.")
    _check_project(call, project_id)


def _check_project(call: Call, project_id: str | None) -> None:
    if _only_project(call) not in (None, project_id):
        raise Forbidden("An application credential cannot be used for credentials outside its own project.")


def _only_project(call: Call) -> str | None:
    """The project that an application credential, if one is used, is for: the caller has no other credentials then."""
    return call.token.project_id if call.token.credential_id else None


# What they say


def _is_ec2(type_: str) -> bool:
    return type_.lower() == EC2


def _ec2_id(access: str) -> str:
    return hashlib.sha256(access.encode()).hexdigest()


def _opened(blob: str) -> dict[str, Any]:
    """The blob of one for EC2. Raises ``Invalid``."""
    try:
        said = msgspec.json.decode(blob, type=dict[str, Any])
        msgspec.convert(said, bodies.Ec2Blob)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise Invalid("Invalid input: the blob of a credential for EC2 is a JSON object with the text 'access'.") from None
    return said


def _marked(call: Call, blob: str) -> str:
    """It says with which application credential it was made, if with one."""
    said = _opened(blob)
    if not call.token.credential_id:
        return blob
    return msgspec.json.encode({**said, "app_cred_id": call.token.credential_id}).decode()


def _check_change(old: rows.UserCredential, new: rows.UserCredential, old_blob: str, blob: str, restricted: bool) -> None:
    """Of one that is for EC2, or is to be. It cannot be made to say less of what it was made with."""
    if restricted:
        raise Forbidden(RESTRICTED)
    if _is_ec2(old.type) != _is_ec2(new.type):
        raise Invalid("Invalid input: a credential for EC2 stays one, and others do not become one.")
    if new.project_id is None:
        raise Invalid("Invalid input: a credential for EC2 is for a project. Give project_id.")
    before, after = _opened(old_blob), _opened(blob)
    for key in FOR_GOOD:
        if before.get(key) != after.get(key):
            raise Invalid(f"Invalid input: '{key}' cannot be changed.")


# How they are kept


async def _keep(call: Call, credential: rows.UserCredential, blob: str) -> None:
    if _is_ec2(credential.type) and credential.project_id is None:
        raise Invalid("Invalid input: a credential for EC2 is for a project. Give project_id.")
    async with call.identity.database.transaction() as conn:
        await _check_exist(conn, credential)
        first = await rows.is_first(conn)
        if await rows.credential_count(conn, credential.user_id) >= MAX_PER_USER:
            raise Forbidden(f"A user has at most {MAX_PER_USER} credentials. Delete some first.")
        sealed = await _seal(call, credential.id, blob, first=first)
        await rows.credential_insert(conn, msgspec.structs.replace(credential, sealed_blob=sealed))


async def _check_exist(conn: Connection, credential: rows.UserCredential) -> None:
    if await db.user_show(conn, credential.user_id) is None:
        raise Invalid(f"Could not find user: {credential.user_id}.")
    if credential.project_id is not None and await db.project_show(conn, credential.project_id) is None:
        raise Invalid(f"Could not find project: {credential.project_id}.")


async def _seal(call: Call, credential_id: str, blob: str, *, first: bool) -> bytes:
    return await asyncio.to_thread(call.identity.blobs.seal, blob, credential_id, first=first)


async def _open(call: Call, *credentials: rows.UserCredential) -> list[str]:
    """Their blobs."""
    return await asyncio.to_thread(lambda: [call.identity.blobs.open(c.sealed_blob, c.id) for c in credentials])
