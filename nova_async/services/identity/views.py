"""How records look to callers."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from nova_async.db import identity as db
from nova_async.db import identity_catalog, identity_limits
from nova_async.db.identity_user_credentials import UserCredential
from nova_async.model.access_rules import AccessRule
from nova_async.services.identity.tokens import Token

View = dict[str, Any]


def stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def project(base: str, p: db.Project) -> View:
    if p.is_domain:
        return {**domain(base, p), "domain_id": None, "parent_id": None, "is_domain": True, "links": _links(base, "projects", p.id)}
    return {
        **p.extra,
        "id": p.id,
        "name": p.name,
        "domain_id": p.domain_id,
        "parent_id": p.parent_id or p.domain_id,
        "description": p.description,
        "enabled": p.enabled,
        "is_domain": False,
        "tags": p.tags,
        "options": p.options,
        "links": _links(base, "projects", p.id),
    }


def domain(base: str, p: db.Project) -> View:
    return {
        **p.extra,
        "id": p.id,
        "name": p.name,
        "description": p.description,
        "enabled": p.enabled,
        "tags": p.tags,
        "options": p.options,
        "links": _links(base, "domains", p.id),
    }


def user(base: str, u: db.User) -> View:
    default = {"default_project_id": u.default_project_id} if u.default_project_id else {}
    return {
        **u.extra,
        **default,
        "id": u.id,
        "name": u.name,
        "domain_id": u.domain_id,
        "enabled": u.enabled,
        "password_expires_at": None,
        "options": u.options,
        "links": _links(base, "users", u.id),
    }


def group(base: str, g: db.Group) -> View:
    shown = {"id": g.id, "name": g.name, "domain_id": g.domain_id, "description": g.description}
    return {**g.extra, **shown, "links": _links(base, "groups", g.id)}


def role(base: str, r: db.Role) -> View:
    shown = {"id": r.id, "name": r.name, "domain_id": r.domain_id, "description": r.description, "options": r.options}
    return {**r.extra, **shown, "links": _links(base, "roles", r.id)}


def region(base: str, r: identity_catalog.Region) -> View:
    shown = {"id": r.id, "description": r.description, "parent_region_id": r.parent_region_id}
    return {**r.extra, **shown, "links": _links(base, "regions", r.id)}


def service(base: str, s: identity_catalog.Service) -> View:
    described = {} if s.description is None else {"description": s.description}
    return {
        **s.extra,
        **described,
        "id": s.id,
        "type": s.type,
        "name": s.name,
        "enabled": s.enabled,
        "links": _links(base, "services", s.id),
    }


def endpoint(base: str, e: identity_catalog.Endpoint) -> View:
    return {
        **e.extra,
        "id": e.id,
        "service_id": e.service_id,
        "interface": e.interface,
        "url": e.url,
        "region": e.region_id,
        "region_id": e.region_id,
        "enabled": e.enabled,
        "links": _links(base, "endpoints", e.id),
    }


def credential(base: str, c: db.Credential, roles: list[View], rules: list[AccessRule]) -> View:
    """Without access rules it does not speak of them, as in a token."""
    return {
        **_bound(rules),
        "id": c.id,
        "name": c.name,
        "description": c.description,
        "project_id": c.project_id,
        "user_id": c.user_id,
        "roles": roles,
        "unrestricted": c.unrestricted,
        "expires_at": c.expires_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") if c.expires_at else None,
        "links": _links(base, f"users/{c.user_id}/application_credentials", c.id),
    }


def access_rule(base: str, user_id: str, r: AccessRule) -> View:
    return {**_rule(r), "links": _links(base, f"users/{user_id}/access_rules", r.id)}


def user_credential(base: str, c: UserCredential, blob: str) -> View:
    shown = {"id": c.id, "user_id": c.user_id, "project_id": c.project_id, "type": c.type, "blob": blob}
    return {**shown, "links": _links(base, "credentials", c.id)}


def ec2_credential(base: str, c: UserCredential, blob: View) -> View:
    shown = {"user_id": c.user_id, "tenant_id": c.project_id, "access": blob["access"], "secret": blob.get("secret")}
    return {**shown, "trust_id": blob.get("trust_id"), "links": _links(base, f"users/{c.user_id}/credentials/OS-EC2", blob["access"])}


def registered_limit(base: str, r: identity_limits.RegisteredLimit) -> View:
    return {**msgspec.structs.asdict(r), "links": _links(base, "registered_limits", r.id)}


def limit(base: str, limit: identity_limits.Limit) -> View:
    return {**msgspec.structs.asdict(limit), "links": _links(base, "limits", limit.id)}


def catalog(rows: list[identity_catalog.CatalogRow]) -> list[View]:
    services: dict[str, View] = {}
    for r in rows:
        entry = services.setdefault(r.service_id, {"endpoints": [], "id": r.service_id, "type": r.type, "name": r.name})
        if r.endpoint_id:
            place = {"region": r.region_id, "region_id": r.region_id, "url": r.url}
            entry["endpoints"].append({"id": r.endpoint_id, "interface": r.interface, **place})
    return list(services.values())


class Described(msgspec.Struct, frozen=True, kw_only=True):
    """The records that a token's ids stand for."""

    user: db.LoginUser
    scope: db.LoginScope | None
    roles: list[db.RoleName]
    catalog: list[identity_catalog.CatalogRow] | None
    credential: db.Credential | None
    rules: list[AccessRule]  # of the credential


def token(t: Token, d: Described) -> View:
    who = {"id": d.user.id, "name": d.user.name, "domain": {"id": d.user.domain_id, "name": d.user.domain_name}}
    view: View = {
        "methods": list(t.methods),
        "user": {**who, "password_expires_at": None},
        "audit_ids": [a for a in (t.audit_id, t.parent_audit_id) if a],
        "expires_at": stamp(t.expires_at),
        "issued_at": stamp(t.issued_at),
    }
    if d.scope and d.scope.is_domain:
        view["domain"] = {"id": d.scope.id, "name": d.scope.name}
    elif d.scope:
        view["project"] = {"id": d.scope.id, "name": d.scope.name, "domain": {"id": d.scope.domain_id, "name": d.scope.domain_name}}
        view["is_domain"] = False
    if t.system:
        view["system"] = {"all": True}
    if t.scope_id:
        view["roles"] = [{"id": r.id, "name": r.name} for r in d.roles]
        if d.catalog is not None:
            view["catalog"] = catalog(d.catalog)
    if d.credential:
        c = d.credential
        view["application_credential"] = {"id": c.id, "name": c.name, "restricted": not c.unrestricted, **_bound(d.rules)}
    return {"token": view}


def _bound(rules: list[AccessRule]) -> View:
    return {"access_rules": [_rule(r) for r in rules]} if rules else {}


def _rule(r: AccessRule) -> View:
    return {"id": r.id, "service": r.service, "method": r.method, "path": r.path}


def _links(base: str, collection: str, id_: str) -> View:
    return {"self": f"{base}/{collection}/{id_}"}
