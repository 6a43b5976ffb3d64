"""Identity: domains, projects, users, groups, roles, and who has which where."""

import unicodedata
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import asyncpg
import msgspec

from nova_async.db.database import Connection
from nova_async.db.query import Query

Extra = dict[str, Any]
Refused = asyncpg.PostgresError  # the server answered, and not with what was asked: cancelled, out of memory ...


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """A project, or a domain (``is_domain``; then ``domain_id`` is None)."""

    id: str
    domain_id: str | None = None
    parent_id: str | None = None
    name: str
    description: str = ""
    enabled: bool = True
    is_domain: bool = False
    tags: list[str] = []
    options: Extra = {}
    extra: Extra = {}


class User(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    domain_id: str
    name: str
    password_hash: str | None = None
    enabled: bool = True
    default_project_id: str | None = None
    options: Extra = {}
    extra: Extra = {}


class Group(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    domain_id: str
    name: str
    description: str = ""
    extra: Extra = {}


class Role(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    domain_id: str | None = None
    name: str
    description: str | None = None
    options: Extra = {}
    extra: Extra = {}


class RoleName(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str


class Implication(msgspec.Struct, frozen=True, kw_only=True):
    prior_id: str
    prior_name: str
    implied_id: str
    implied_name: str


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """A role given to a user or a group on a project, a domain, or (neither) the system."""

    user_id: str | None = None
    group_id: str | None = None
    project_id: str | None = None
    domain_id: str | None = None
    role_id: str = ""
    inherited: bool = False


class Named(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    domain_id: str | None
    domain_name: str | None


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """An application credential; ``roles`` and ``access_rules`` are ids. Without rules it may be used for all that the roles allow."""

    id: str
    user_id: str
    project_id: str
    name: str
    secret_hash: str
    description: str | None = None
    roles: list[str] = []
    unrestricted: bool = False
    expires_at: datetime | None = None
    access_rules: list[str] = []


class LoginUser(msgspec.Struct, frozen=True, kw_only=True):
    """A user as a login sees it; ``enabled`` only when its domain is as well."""

    id: str
    name: str
    domain_id: str
    domain_name: str
    enabled: bool
    password_hash: str | None
    default_project_id: str | None


class LoginScope(msgspec.Struct, frozen=True, kw_only=True):
    """A project or domain as a login sees it; ``enabled`` only when its domain is as well."""

    id: str
    name: str
    is_domain: bool
    domain_id: str
    domain_name: str
    enabled: bool


class Ref(msgspec.Struct, frozen=True, kw_only=True):
    """How a request names a user, project or domain: by id, or by name within a domain."""

    id: str | None = None
    name: str | None = None
    domain_id: str | None = None
    domain_name: str | None = None

    @property
    def keys(self) -> tuple[str | None, str | None, str | None, str | None]:
        return self.id, self.name and key(self.name), self.domain_id, self.domain_name and key(self.domain_name)


class Page(msgspec.Struct, frozen=True, kw_only=True):
    marker: str | None = None
    limit: int = 10_000


def key(name: str) -> str:
    """What makes two names the same: compatibility composition and case folding (Unicode TR 15, TR 36)."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def _key(name: str | None) -> str | None:
    return None if name is None else key(name)


# Projects and domains

_project_insert: Query[Any] = Query("identity", "project_insert")
_project_update: Query[Any] = Query("identity", "project_update")
_project_delete: Query[Any] = Query("identity", "project_delete")
_project_show = Query("identity", "project_show", Project)
_project_lock = Query("identity", "project_lock", Project)
_project_list = Query("identity", "project_list", Project)
_project_ancestry = Query("identity", "project_ancestry", Project)
_project_below = Query("identity", "project_below", Project)
_projects_reached = Query("identity", "projects_reached", Project)


async def project_insert(conn: Connection, p: Project) -> None:
    values = (p.id, p.domain_id, p.parent_id, p.name, key(p.name), p.description, p.enabled, p.is_domain, p.tags, p.options, p.extra)
    await _project_insert.run(conn, *values)


async def project_update(conn: Connection, p: Project) -> None:
    await _project_update.run(conn, p.id, p.name, key(p.name), p.description, p.enabled, p.tags, p.options, p.extra)


async def project_delete(conn: Connection, project_id: str) -> bool:
    return await _project_delete.run(conn, project_id) > 0


async def project_show(conn: Connection, project_id: str) -> Project | None:
    return await _project_show.maybe(conn, project_id)


async def project_lock(conn: Connection, project_id: str) -> Project | None:
    return await _project_lock.maybe(conn, project_id)


class ProjectFilter(msgspec.Struct, frozen=True, kw_only=True):
    name: str | None = None
    domain_id: str | None = None
    enabled: bool | None = None
    parent_id: str | None = None
    is_domain: bool = False
    tags: list[str] | None = None
    tags_any: list[str] | None = None
    not_tags: list[str] | None = None
    not_tags_any: list[str] | None = None


async def project_list(conn: Connection, f: ProjectFilter, page: Page) -> list[Project]:
    filters = (_key(f.name), f.domain_id, f.enabled, f.parent_id, f.is_domain, f.tags, f.tags_any, f.not_tags, f.not_tags_any)
    return await _project_list.all(conn, *filters, page.marker, page.limit)


async def project_ancestry(conn: Connection, project_id: str) -> list[Project]:
    """The project and those above it, nearest first."""
    return await _project_ancestry.all(conn, project_id)


async def project_below(conn: Connection, project_id: str) -> list[Project]:
    return await _project_below.all(conn, project_id)


async def projects_reached(conn: Connection, user_id: str, *, is_domain: bool = False) -> list[Project]:
    """Enabled projects (or domains) in which the user has a role."""
    return await _projects_reached.all(conn, user_id, is_domain)


# Users and groups

_user_insert: Query[Any] = Query("identity", "user_insert")
_user_update: Query[Any] = Query("identity", "user_update")
_user_delete: Query[Any] = Query("identity", "user_delete")
_user_show = Query("identity", "user_show", User)
_user_lock = Query("identity", "user_lock", User)
_user_list = Query("identity", "user_list", User)
_user_login = Query("identity", "user_login", LoginUser)
_group_insert: Query[Any] = Query("identity", "group_insert")
_group_update: Query[Any] = Query("identity", "group_update")
_group_delete: Query[Any] = Query("identity", "group_delete")
_group_show = Query("identity", "group_show", Group)
_group_list = Query("identity", "group_list", Group)
_member_insert: Query[Any] = Query("identity", "member_insert")
_member_delete: Query[Any] = Query("identity", "member_delete")
_member_show = Query("identity", "member_show", str)
_member_list = Query("identity", "member_list", User)


async def user_insert(conn: Connection, u: User) -> None:
    values = (u.id, u.domain_id, u.name, key(u.name), u.password_hash, u.enabled, u.default_project_id, u.options, u.extra)
    await _user_insert.run(conn, *values)


async def user_update(conn: Connection, u: User) -> None:
    await _user_update.run(conn, u.id, u.name, key(u.name), u.password_hash, u.enabled, u.default_project_id, u.options, u.extra)


async def user_delete(conn: Connection, user_id: str) -> bool:
    return await _user_delete.run(conn, user_id) > 0


async def user_show(conn: Connection, user_id: str) -> User | None:
    return await _user_show.maybe(conn, user_id)


async def user_lock(conn: Connection, user_id: str) -> User | None:
    return await _user_lock.maybe(conn, user_id)


async def user_list(conn: Connection, name: str | None, domain_id: str | None, enabled: bool | None, page: Page) -> list[User]:
    return await _user_list.all(conn, _key(name), domain_id, enabled, page.marker, page.limit)


async def user_login(conn: Connection, ref: Ref) -> LoginUser | None:
    return await _user_login.maybe(conn, *ref.keys)


async def group_insert(conn: Connection, g: Group) -> None:
    await _group_insert.run(conn, g.id, g.domain_id, g.name, key(g.name), g.description, g.extra)


async def group_update(conn: Connection, g: Group) -> None:
    await _group_update.run(conn, g.id, g.name, key(g.name), g.description, g.extra)


async def group_delete(conn: Connection, group_id: str) -> bool:
    return await _group_delete.run(conn, group_id) > 0


async def group_show(conn: Connection, group_id: str) -> Group | None:
    return await _group_show.maybe(conn, group_id)


async def group_list(conn: Connection, name: str | None, domain_id: str | None, member: str | None, page: Page) -> list[Group]:
    return await _group_list.all(conn, _key(name), domain_id, member, page.marker, page.limit)


async def member_insert(conn: Connection, group_id: str, user_id: str) -> None:
    await _member_insert.run(conn, group_id, user_id)


async def member_delete(conn: Connection, group_id: str, user_id: str) -> bool:
    return await _member_delete.run(conn, group_id, user_id) > 0


async def is_member(conn: Connection, group_id: str, user_id: str) -> bool:
    return await _member_show.maybe(conn, group_id, user_id) is not None


async def member_list(conn: Connection, group_id: str) -> list[User]:
    return await _member_list.all(conn, group_id)


# Roles, and who has them where

_role_insert: Query[Any] = Query("identity", "role_insert")
_role_update: Query[Any] = Query("identity", "role_update")
_role_delete: Query[Any] = Query("identity", "role_delete")
_role_show = Query("identity", "role_show", Role)
_role_list = Query("identity", "role_list", Role)
_role_holders = Query("identity", "role_holders", str)
_roles_in_scope = Query("identity", "roles_in_scope", RoleName)
_roles_implied = Query("identity", "roles_implied", RoleName)
_roles_named = Query("identity", "roles_named", RoleName)
_implied_insert: Query[Any] = Query("identity", "implied_insert")
_implied_delete: Query[Any] = Query("identity", "implied_delete")
_implied_list = Query("identity", "implied_list", Implication)
_implied_reaches = Query("identity", "implied_reaches", bool)
_grant_insert: Query[Any] = Query("identity", "grant_insert")
_grant_delete: Query[Any] = Query("identity", "grant_delete")
_grant_roles = Query("identity", "grant_roles", Role)
_assignment_list = Query("identity", "assignment_list", Grant)
_assignment_effective = Query("identity", "assignment_effective", Grant)
_assignments_lock: Query[Any] = Query("identity", "assignments_lock")
_names = Query("identity", "names", Named)


async def role_insert(conn: Connection, r: Role) -> None:
    await _role_insert.run(conn, r.id, r.domain_id, r.name, key(r.name), r.description, r.options, r.extra)


async def role_update(conn: Connection, r: Role) -> None:
    await _role_update.run(conn, r.id, r.name, key(r.name), r.description, r.options, r.extra)


async def role_delete(conn: Connection, role_id: str) -> bool:
    return await _role_delete.run(conn, role_id) > 0


async def role_show(conn: Connection, role_id: str) -> Role | None:
    return await _role_show.maybe(conn, role_id)


async def role_list(conn: Connection, name: str | None, domain_id: str | None, page: Page) -> list[Role]:
    return await _role_list.all(conn, _key(name), domain_id, page.marker, page.limit)


async def role_holders(conn: Connection, role_id: str) -> list[str]:
    """Ids of users who have the role, or one that implies it."""
    return await _role_holders.all(conn, role_id)


async def roles_in_scope(conn: Connection, user_id: str, project_id: str | None, domain_id: str | None) -> list[RoleName]:
    """What the user may be on the project or domain, or (both None) the system; implied roles included."""
    return await _roles_in_scope.all(conn, user_id, project_id, domain_id)


async def roles_implied(conn: Connection, role_ids: list[str]) -> list[RoleName]:
    return await _roles_implied.all(conn, role_ids)


async def roles_named(conn: Connection, names: Iterable[str]) -> list[RoleName]:
    return await _roles_named.all(conn, list(names))


async def implied_insert(conn: Connection, prior_id: str, implied_id: str) -> None:
    await _implied_insert.run(conn, prior_id, implied_id)


async def implied_delete(conn: Connection, prior_id: str, implied_id: str) -> bool:
    return await _implied_delete.run(conn, prior_id, implied_id) > 0


async def implied_list(conn: Connection, prior_id: str | None = None) -> list[Implication]:
    return await _implied_list.all(conn, prior_id)


async def implies(conn: Connection, prior_id: str, implied_id: str) -> bool:
    return bool(await _implied_reaches.maybe(conn, prior_id, implied_id))


async def grant_insert(conn: Connection, g: Grant) -> None:
    await _grant_insert.run(conn, g.user_id, g.group_id, g.project_id, g.domain_id, g.role_id, g.inherited)


async def grant_delete(conn: Connection, g: Grant) -> bool:
    return await _grant_delete.run(conn, g.user_id, g.group_id, g.project_id, g.domain_id, g.role_id, g.inherited) > 0


async def grant_roles(conn: Connection, g: Grant) -> list[Role]:
    """The roles directly given to the actor on the target (``g.role_id`` is not looked at)."""
    return await _grant_roles.all(conn, g.user_id, g.group_id, g.project_id, g.domain_id, g.inherited)


class AssignmentFilter(msgspec.Struct, frozen=True, kw_only=True):
    user_id: str | None = None
    group_id: str | None = None
    project_ids: list[str] | None = None
    domain_id: str | None = None
    system: bool | None = None
    role_id: str | None = None
    inherited: bool | None = None
    limit: int = 10_000


async def assignment_list(conn: Connection, f: AssignmentFilter) -> list[Grant]:
    filters = (f.user_id, f.group_id, f.project_ids, f.domain_id, f.system, f.role_id, f.inherited)
    return await _assignment_list.all(conn, *filters, f.limit)


async def assignment_effective(conn: Connection, f: AssignmentFilter) -> list[Grant]:
    """Groups, inheritance and implied roles resolved to users and targets."""
    return await _assignment_effective.all(conn, f.user_id, f.project_ids, f.domain_id, f.system, f.role_id, f.limit)


async def assignments_lock(conn: Connection) -> None:
    """Keep others from giving roles or joining groups until the transaction ends. Take it before any other lock."""
    await _assignments_lock.run(conn)


async def names(conn: Connection, ids: Iterable[str]) -> dict[str, Named]:
    return {n.id: n for n in await _names.all(conn, list(ids))}


# Application credentials

_credential_insert: Query[Any] = Query("identity", "credential_insert")
_credential_delete: Query[Any] = Query("identity", "credential_delete")
_credential_show = Query("identity", "credential_show", Credential)
_credential_list = Query("identity", "credential_list", Credential)
_credential_count = Query("identity", "credential_count", int)


async def credential_insert(conn: Connection, c: Credential) -> None:
    values = (c.id, c.user_id, c.project_id, c.name, c.secret_hash, c.description, c.roles, c.unrestricted, c.expires_at, c.access_rules)
    await _credential_insert.run(conn, *values)


async def credential_delete(conn: Connection, credential_id: str) -> bool:
    return await _credential_delete.run(conn, credential_id) > 0


async def credential_show(conn: Connection, credential_id: str) -> Credential | None:
    return await _credential_show.maybe(conn, credential_id)


async def credential_list(conn: Connection, user_id: str, name: str | None = None) -> list[Credential]:
    return await _credential_list.all(conn, user_id, name)


async def credential_count(conn: Connection, user_id: str) -> int:
    return await _credential_count.one(conn, user_id)


# Logins, and the start

_scope_login = Query("identity", "scope_login", LoginScope)
_bootstrap_lock = Query("identity", "bootstrap_lock", str)


async def scope_login(conn: Connection, ref: Ref, *, is_domain: bool) -> LoginScope | None:
    return await _scope_login.maybe(conn, *ref.keys, is_domain)


async def bootstrap_lock(conn: Connection) -> None:
    """Let one process at a time make what must exist; held until the transaction ends."""
    await _bootstrap_lock.one(conn)
