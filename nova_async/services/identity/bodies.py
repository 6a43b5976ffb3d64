"""What may be created and changed: one struct for each resource, every field optional.

``UNSET`` is "not said". ``REQUIRED`` says what a creation must not leave out.
"""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, structs, to_builtins

from nova_async.errors import Invalid

Id = Annotated[str, Meta(min_length=1, max_length=64)]
Short = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"\S")]
Long = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"\S")]
Text = Annotated[str, Meta(max_length=65_535)]
Password = Annotated[str, Meta(min_length=1, max_length=4096)]
Tag = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^,/]*$")]
Tags = Annotated[list[Tag], Meta(max_length=80)]
Url = Annotated[str, Meta(min_length=1, max_length=225, pattern=r"^[a-zA-Z0-9+.-]+:.+")]
Amount = Annotated[int, Meta(ge=-1, le=0x7FFF_FFFF)]  # -1: without end
Note = Annotated[str, Meta(max_length=255)]


class ResourceOptions(Struct, kw_only=True, forbid_unknown_fields=True):
    immutable: bool | UnsetType | None = UNSET


class UserOptions(Struct, kw_only=True, forbid_unknown_fields=True):
    """Kept for others to read; ``lock_password`` alone means something here."""

    ignore_change_password_upon_first_use: bool | UnsetType | None = UNSET
    ignore_lockout_failure_attempts: bool | UnsetType | None = UNSET
    ignore_password_expiry: bool | UnsetType | None = UNSET
    ignore_user_inactivity: bool | UnsetType | None = UNSET
    lock_password: bool | UnsetType | None = UNSET
    multi_factor_auth_enabled: bool | UnsetType | None = UNSET
    multi_factor_auth_rules: list[list[str]] | UnsetType | None = UNSET


class ProjectBody(Struct, kw_only=True):
    name: Short | UnsetType = UNSET
    domain_id: Id | UnsetType | None = UNSET
    parent_id: Id | UnsetType | None = UNSET
    description: Text | UnsetType | None = UNSET
    enabled: bool | UnsetType = UNSET
    is_domain: bool | UnsetType = UNSET
    tags: Tags | UnsetType = UNSET
    options: ResourceOptions | UnsetType = UNSET


class DomainBody(Struct, kw_only=True):
    name: Short | UnsetType = UNSET
    description: Text | UnsetType | None = UNSET
    enabled: bool | UnsetType = UNSET
    tags: Tags | UnsetType = UNSET
    options: ResourceOptions | UnsetType = UNSET


class UserBody(Struct, kw_only=True):
    name: Long | UnsetType = UNSET
    domain_id: Id | UnsetType = UNSET
    password: Password | UnsetType | None = UNSET
    enabled: bool | UnsetType = UNSET
    default_project_id: Id | UnsetType | None = UNSET
    options: UserOptions | UnsetType = UNSET


class PasswordBody(Struct, kw_only=True):
    password: Password
    original_password: Password


class GroupBody(Struct, kw_only=True):
    name: Short | UnsetType = UNSET
    domain_id: Id | UnsetType = UNSET
    description: Text | UnsetType | None = UNSET


class RoleBody(Struct, kw_only=True):
    name: Long | UnsetType = UNSET
    domain_id: Id | UnsetType | None = UNSET
    description: Text | UnsetType | None = UNSET
    options: ResourceOptions | UnsetType = UNSET


class RegionBody(Struct, kw_only=True):
    id: Annotated[str, Meta(max_length=255, pattern=r"^[^/]*$")] | UnsetType = UNSET
    description: Text | UnsetType | None = UNSET
    parent_region_id: Long | UnsetType | None = UNSET


class ServiceBody(Struct, kw_only=True):
    type: Long | UnsetType = UNSET
    name: Text | UnsetType | None = UNSET
    description: Text | UnsetType | None = UNSET
    enabled: bool | UnsetType = UNSET


class EndpointBody(Struct, kw_only=True):
    service_id: Id | UnsetType = UNSET
    interface: Literal["public", "internal", "admin"] | UnsetType = UNSET
    url: Url | UnsetType = UNSET
    region_id: Long | UnsetType | None = UNSET
    region: Long | UnsetType | None = UNSET  # the name of region_id in older clients
    enabled: bool | UnsetType = UNSET


class RoleRef(Struct, kw_only=True):
    id: Id | None = None
    name: Long | None = None


class AccessRuleBody(Struct, kw_only=True):
    """By id, one that the user has already; else all of the others."""

    id: Id | None = None
    service: Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9-]+\Z")] | None = None
    method: Literal["DELETE", "GET", "HEAD", "PATCH", "POST", "PUT"] | None = None
    path: Annotated[str, Meta(max_length=225, pattern=r"^/")] | None = None


class CredentialBody(Struct, kw_only=True):
    name: Long
    secret: Annotated[str, Meta(min_length=1, max_length=4096)] | None = None
    description: Text | None = None
    expires_at: Annotated[str, Meta(max_length=64)] | None = None
    roles: Annotated[list[RoleRef], Meta(max_length=100)] | None = None
    unrestricted: bool = False
    access_rules: Annotated[list[AccessRuleBody], Meta(max_length=100)] | None = None


class NewRegisteredLimit(Struct, kw_only=True, forbid_unknown_fields=True):
    service_id: Id
    region_id: Long | None = None
    resource_name: Long
    default_limit: Amount
    description: Note | None = None


class RegisteredLimitsBody(Struct, kw_only=True):
    registered_limits: Annotated[list[NewRegisteredLimit], Meta(min_length=1)]


class RegisteredLimitBody(Struct, kw_only=True, forbid_unknown_fields=True):
    service_id: Id | UnsetType = UNSET
    region_id: Long | UnsetType | None = UNSET
    resource_name: Long | UnsetType = UNSET
    default_limit: Amount | UnsetType = UNSET
    description: Note | UnsetType | None = UNSET


class NewLimit(Struct, kw_only=True, forbid_unknown_fields=True):
    service_id: Id
    region_id: Long | None = None
    project_id: Id | None = None
    domain_id: Id | None = None
    resource_name: Long
    resource_limit: Amount
    description: Note | None = None


class LimitsBody(Struct, kw_only=True):
    limits: Annotated[list[NewLimit], Meta(min_length=1)]


class LimitBody(Struct, kw_only=True, forbid_unknown_fields=True):
    resource_limit: Amount | UnsetType = UNSET
    description: Note | UnsetType | None = UNSET


class UserCredentialBody(Struct, kw_only=True):
    """A credential for others to ask for; ``blob`` is in whatever form those want it."""

    user_id: Id | UnsetType = UNSET
    project_id: Id | UnsetType | None = UNSET
    type: Long | UnsetType = UNSET
    blob: Text | UnsetType = UNSET


class Ec2Body(Struct, kw_only=True):
    tenant_id: Id


class Ec2Blob(Struct, kw_only=True):
    """What there must be in the blob of a credential for EC2."""

    access: Annotated[str, Meta(min_length=1, max_length=255)]
    secret: str | None = None


class TagsBody(Struct, kw_only=True):
    tags: Tags


REQUIRED: dict[type[Struct], tuple[str, ...]] = {
    ProjectBody: ("name",),
    DomainBody: ("name",),
    UserBody: ("name",),
    GroupBody: ("name",),
    RoleBody: ("name",),
    RegionBody: (),
    ServiceBody: ("type",),
    EndpointBody: ("service_id", "interface", "url"),
    UserCredentialBody: ("user_id", "type", "blob"),
}


def complete(body: Struct) -> None:
    """Raise ``Invalid`` when a creation leaves out what it must say."""
    for name in REQUIRED[type(body)]:
        if getattr(body, name) is UNSET:
            raise Invalid(f"Invalid input: '{name}' is a required property.")


def said(body: Struct, *names: str) -> dict[str, Any]:
    """The fields among ``names`` that the body speaks of; an empty description for none, and options as a plain object."""
    values = {n: getattr(body, n) for n in names if getattr(body, n) is not UNSET}
    if "description" in values and values["description"] is None:
        values["description"] = ""
    if "options" in values:
        values["options"] = to_builtins(values["options"])
    return values


def given(body: Struct) -> dict[str, Any]:
    """All fields that the body speaks of."""
    return {name: value for name, value in structs.asdict(body).items() if value is not UNSET}
