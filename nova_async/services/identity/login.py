"""From credentials to a token: who it is, what it is for, and what the user may do there."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from nova_async.db import Connection, identity_tokens
from nova_async.db import identity as db
from nova_async.errors import Forbidden, Invalid, Unauthorized
from nova_async.services.identity.builtin import BuiltinIdentity
from nova_async.services.identity.tokens import Token, subjects

Text = Annotated[str, Meta(max_length=255)]
SecretText = Annotated[str, Meta(max_length=4096)]


class DomainRef(Struct, frozen=True):
    id: Text | None = None
    name: Text | None = None


class UserRef(Struct, frozen=True):
    id: Text | None = None
    name: Text | None = None
    domain: DomainRef | None = None
    password: SecretText | None = None


class PasswordMethod(Struct, frozen=True):
    user: UserRef


class TokenMethod(Struct, frozen=True):
    id: SecretText


class CredentialMethod(Struct, frozen=True):
    secret: SecretText
    id: Text | None = None
    name: Text | None = None
    user: UserRef | None = None


class IdentityPart(Struct, frozen=True):
    methods: Annotated[list[Text], Meta(min_length=1, max_length=10)]
    password: PasswordMethod | None = None
    token: TokenMethod | None = None
    application_credential: CredentialMethod | None = None


class ProjectRef(Struct, frozen=True):
    id: Text | None = None
    name: Text | None = None
    domain: DomainRef | None = None


class SystemRef(Struct, frozen=True):
    all: bool


class Scope(Struct, frozen=True):
    project: ProjectRef | None = None
    domain: DomainRef | None = None
    system: SystemRef | None = None
    unscoped: dict[str, Any] | None = None
    trust: Any = msgspec.field(default=None, name="OS-TRUST:trust")


class Auth(Struct, frozen=True):
    identity: IdentityPart
    scope: Scope | Literal["unscoped"] | None = None


class AuthBody(Struct, frozen=True):
    auth: Auth


class Proof(Struct, frozen=True, kw_only=True):
    """What a method found out."""

    user: db.LoginUser
    token: Token | None = None  # the one that was shown
    credential: db.Credential | None = None


class Target(Struct, frozen=True, kw_only=True):
    """What the token is to be for; neither place nor system: nothing."""

    place: db.LoginScope | None = None
    system: bool = False
    optional: bool = False  # the user's default project: no token for it is no failure


async def login(identity: BuiltinIdentity, auth: Auth, address: str) -> Token:
    """The token that these credentials earn. ``address`` is where the caller sits.

    Raises ``Invalid`` (malformed), ``Unauthorized`` (wrong, disabled, no role there), ``Forbidden`` (may not be
    widened), ``Unavailable``.
    """
    proofs = [await _prove(identity, auth.identity, method, address) for method in dict.fromkeys(auth.identity.methods)]
    if len({p.user.id for p in proofs}) != 1:
        raise Unauthorized()
    async with identity.database.connection() as conn, conn.transaction(isolation="repeatable_read", readonly=True):
        return await _token(identity, conn, auth, proofs)


async def login_as(identity: BuiltinIdentity, username: str, project: ProjectRef) -> Token:
    """A token for this process's own user, which its own process believes. Raises ``Unauthorized`` when there is none with a role there."""
    auth = Auth(identity=IdentityPart(methods=["password"]), scope=Scope(project=project))
    async with identity.database.connection() as conn, conn.transaction(isolation="repeatable_read", readonly=True):
        user = await db.user_login(conn, db.Ref(name=username, domain_id="default"))
        if user is None:
            raise Unauthorized()
        return await _token(identity, conn, auth, [Proof(user=user)])


# Methods


async def _prove(identity: BuiltinIdentity, part: IdentityPart, method: str, address: str) -> Proof:
    match method:
        case "password" if part.password:
            return await _by_password(identity, part.password.user, address)
        case "token" if part.token:
            return await _by_token(identity, part.token.id)
        case "application_credential" if part.application_credential:
            return await _by_credential(identity, part.application_credential, address)
        case "password" | "token" | "application_credential":
            raise Invalid(f"Expecting to find {method} in identity.")
        case _:
            raise Unauthorized("Unsupported authentication method. Use password, token or application_credential.")


async def _by_password(identity: BuiltinIdentity, ref: UserRef, address: str) -> Proof:
    if ref.password is None:
        raise Invalid("Expecting to find password in user.")
    named = _user(ref)
    account = _account("user", named)
    identity.patience.check(account, address)
    async with identity.database.connection() as conn:
        user = await db.user_login(conn, named)
    if not await identity.passwords.matches(user.password_hash if user else None, ref.password) or user is None:
        identity.patience.failed(account, address)
        raise Unauthorized()
    identity.patience.succeeded(account, address)
    return Proof(user=user)


async def _by_token(identity: BuiltinIdentity, text: str) -> Proof:
    token = await identity.read(text)
    async with identity.database.connection() as conn:
        user = await db.user_login(conn, db.Ref(id=token.user_id))
        credential = await db.credential_show(conn, token.credential_id) if token.credential_id else None
    if user is None or (token.credential_id and credential is None):
        raise Unauthorized()
    return Proof(user=user, token=token, credential=credential)


async def _by_credential(identity: BuiltinIdentity, part: CredentialMethod, address: str) -> Proof:
    account = _account("credential", _credential_ref(part))
    identity.patience.check(account, address)
    async with identity.database.connection() as conn:
        credential = await _find_credential(conn, part)
        user = await db.user_login(conn, db.Ref(id=credential.user_id)) if credential else None
    matches = await identity.passwords.matches(credential.secret_hash if credential else None, part.secret)
    if not matches or user is None or credential is None:
        identity.patience.failed(account, address)
        raise Unauthorized()
    identity.patience.succeeded(account, address)
    return Proof(user=user, credential=credential)


async def _find_credential(conn: Connection, part: CredentialMethod) -> db.Credential | None:
    if part.id:
        return await db.credential_show(conn, part.id)
    user = await db.user_login(conn, _user(part.user or UserRef()))
    found = await db.credential_list(conn, user.id, part.name) if user and part.name else []
    return found[0] if found else None


def _credential_ref(part: CredentialMethod) -> db.Ref:
    if part.id:
        return db.Ref(id=part.id)
    if not part.name:
        raise Invalid("Expecting to find id, or name and user, in application_credential.")
    owner = _user(part.user or UserRef())
    return db.Ref(id=owner.id, name=f"{part.name}\n{owner.name}", domain_id=owner.domain_id, domain_name=owner.domain_name)


def _account(kind: str, ref: db.Ref) -> str:
    return "\n".join([kind, *(part or "" for part in ref.keys)])


def _user(ref: UserRef) -> db.Ref:
    return _within_domain(ref.id, ref.name, ref.domain, "user")


def _within_domain(id_: str | None, name: str | None, domain: DomainRef | None, what: str) -> db.Ref:
    """Only what identifies: the same user must not be another account to ``Patience`` for an idle word beside its id."""
    if id_:
        return db.Ref(id=id_)
    if name and domain and domain.id:
        return db.Ref(name=name, domain_id=domain.id)
    if name and domain and domain.name:
        return db.Ref(name=name, domain_name=domain.name)
    raise Invalid(f"Expecting to find id, or name and domain, in {what}.")


# Scope and roles, read in one snapshot


async def _token(identity: BuiltinIdentity, conn: Connection, auth: Auth, proofs: list[Proof]) -> Token:
    user = await _still_valid(conn, proofs)
    shown = next((p.token for p in proofs if p.token), None)
    credential = next((p.credential for p in proofs if p.credential), None)
    now = identity.world.now()
    if credential and credential.expires_at is not None and credential.expires_at <= now:
        raise Unauthorized()
    target = await _target(conn, auth.scope, user, credential)
    roles = await _roles(conn, user, target, credential)
    if not roles and (target.place or target.system):
        if not target.optional:
            raise Unauthorized()
        target = Target()
    issued_at = now.timestamp()
    expires_at = shown.expires_at if shown else float(int(issued_at) + identity.config.identity.token_seconds)
    if credential and credential.expires_at is not None:
        expires_at = min(expires_at, credential.expires_at.timestamp())
    place = target.place
    token = Token(
        user_id=user.id,
        user_domain_id=user.domain_id,
        project_id=place.id if place and not place.is_domain else "",
        project_domain_id=place.domain_id if place and not place.is_domain else "",
        domain_id=place.id if place and place.is_domain else "",
        system=target.system,
        roles=tuple(sorted(roles)),
        methods=tuple(dict.fromkeys([*(shown.methods if shown else ()), *auth.identity.methods])),
        issued_at=issued_at,
        expires_at=expires_at,
        audit_id=identity.world.secret(16),
        parent_audit_id=(shown.parent_audit_id or shown.audit_id) if shown else "",
        credential_id=credential.id if credential else "",
        bound=bool(credential and credential.access_rules),
    )
    epochs = await identity_tokens.revocations_of(conn, list(subjects(token)))
    return msgspec.structs.replace(token, marks=tuple(epochs.get(s, 0) for s in subjects(token)))


async def _still_valid(conn: Connection, proofs: list[Proof]) -> db.LoginUser:
    """The user as the snapshot has it; what was proved must still be so, or a change in between would be missed."""
    proved = proofs[0].user
    user = await db.user_login(conn, db.Ref(id=proved.id))
    if user is None or not user.enabled or user.password_hash != proved.password_hash:
        raise Unauthorized()
    for proof in proofs:
        if proof.credential and await db.credential_show(conn, proof.credential.id) is None:
            raise Unauthorized()
        if proof.token:
            epochs = await identity_tokens.revocations_of(conn, list(subjects(proof.token)))
            if any(epochs.get(s, 0) > m for s, m in zip(subjects(proof.token), proof.token.marks, strict=False)):
                raise Unauthorized()
    return user


async def _target(
    conn: Connection, scope: Scope | Literal["unscoped"] | None, user: db.LoginUser, credential: db.Credential | None
) -> Target:
    if credential:
        return await _target_of_credential(conn, scope, credential)
    if scope is None:
        default = await _place(conn, db.Ref(id=user.default_project_id), is_domain=False) if user.default_project_id else None
        return Target(place=default, optional=True)
    if scope == "unscoped" or scope.unscoped is not None:
        return Target()
    if scope.trust is not None:
        raise Invalid("Trusts are not supported by this service. Scope the token to a project, a domain or the system.")
    if sum(part is not None for part in (scope.project, scope.domain, scope.system)) != 1:
        raise Invalid("Expecting exactly one of project, domain and system in scope.")
    if scope.system is not None:
        if not scope.system.all:
            raise Invalid('Expecting {"all": true} in system.')
        return Target(system=True)
    ref = _project(scope.project) if scope.project else _domain(scope.domain or DomainRef())
    place = await _place(conn, ref, is_domain=scope.domain is not None)
    if place is None:
        raise Unauthorized()
    return Target(place=place)


async def _target_of_credential(conn: Connection, scope: Scope | str | None, credential: db.Credential) -> Target:
    """An application credential is for its project and nothing else."""
    place = await _place(conn, db.Ref(id=credential.project_id), is_domain=False)
    if place is None:
        raise Unauthorized()
    asked = scope.project if isinstance(scope, Scope) else None
    if scope is not None and (asked is None or await _place(conn, _project(asked), is_domain=False) != place):
        raise Forbidden("An application credential cannot be used outside its own project.")
    return Target(place=place)


async def _place(conn: Connection, ref: db.Ref, *, is_domain: bool) -> db.LoginScope | None:
    found = await db.scope_login(conn, ref, is_domain=is_domain)
    return found if found and found.enabled else None


def _project(ref: ProjectRef) -> db.Ref:
    return _within_domain(ref.id, ref.name, ref.domain, "project")


def _domain(ref: DomainRef) -> db.Ref:
    if ref.id or ref.name:
        return db.Ref(id=ref.id, name=ref.name)
    raise Invalid("Expecting to find id or name in domain.")


async def _roles(conn: Connection, user: db.LoginUser, target: Target, credential: db.Credential | None) -> set[str]:
    """Names. With an application credential: those it was given and that the user still has."""
    if not target.place and not target.system:
        return set()
    place = target.place
    project_id = place.id if place and not place.is_domain else None
    domain_id = place.id if place and place.is_domain else None
    held = {r.name for r in await db.roles_in_scope(conn, user.id, project_id, domain_id)}
    if credential is None:
        return held
    return held & {r.name for r in await db.roles_implied(conn, credential.roles)}
