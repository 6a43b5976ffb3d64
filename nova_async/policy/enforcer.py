"""Decisions, made by oslo.policy and remembered.

A decision depends on nothing but the rule, the caller and the owner of the target, so that equal questions need one
evaluation; the memory is bounded.
"""

from collections.abc import Iterable
from pathlib import Path

from oslo_config import cfg
from oslo_policy import policy as oslo

from nova_async.context import Context
from nova_async.errors import Forbidden, Invalid
from nova_async.policy.rule import Rule

IMPLIED: dict[str, tuple[str, ...]] = {
    "admin": ("manager", "member", "reader"),
    "manager": ("member", "reader"),
    "member": ("reader",),
}  # as the identity service implies them
REMEMBERED = 20_000


class Policy:
    """``may`` answers, ``require`` raises. ``file`` overrides defaults by name, in oslo.policy's YAML."""

    def __init__(self, rules: Iterable[Rule], file: str = "") -> None:
        texts = {rule.name: rule.default for rule in rules}
        self._enforcer = oslo.Enforcer(cfg.ConfigOpts(), use_conf=False)
        self._enforcer.set_rules(oslo.Rules.from_dict(texts | _overrides(file)), use_conf=False)
        self._names = frozenset(texts)
        self._decided: dict[tuple[str | bool | tuple[str, ...], ...], bool] = {}

    def may(self, ctx: Context, name: str, *, project_id: str | None = None, user_id: str | None = None) -> bool:
        """Whether the caller may do it to something of this owner (None: the caller's own). Unknown names are a programmer's error."""
        project = ctx.project_id if project_id is None else project_id
        user = ctx.user_id if user_id is None else user_id
        key = (name, ctx.roles, ctx.user_id, ctx.project_id, ctx.user_domain_id, ctx.project_domain_id, ctx.system_scope, project, user)
        decision = self._decided.get(key)
        if decision is None:
            decision = self._decide(ctx, name, project, user)
            if len(self._decided) >= REMEMBERED:
                self._decided.clear()
            self._decided[key] = decision
        return decision

    def require(self, ctx: Context, name: str, *, project_id: str | None = None, user_id: str | None = None) -> None:
        """Raises ``Forbidden`` in Nova's words."""
        if not self.may(ctx, name, project_id=project_id, user_id=user_id):
            raise Forbidden(f"Policy doesn't allow {name} to be performed.")

    def _decide(self, ctx: Context, name: str, project: str, user: str) -> bool:
        roles = {role.lower() for role in ctx.roles}
        credentials = {
            "user_id": ctx.user_id,
            "project_id": ctx.project_id,
            "user_domain_id": ctx.user_domain_id,
            "project_domain_id": ctx.project_domain_id,
            "roles": sorted(roles.union(*(IMPLIED.get(role, ()) for role in roles))),
            "is_admin": "admin" in roles,
            "system_scope": "all" if ctx.system_scope else None,
        }
        target = {"project_id": project, "user_id": user}
        if name not in self._names:
            raise KeyError(name)
        return bool(self._enforcer.enforce(name, target, credentials))


def _overrides(file: str) -> dict[str, str]:
    """The rules of an operator's file; raises ``Invalid`` when it cannot be read."""
    if not file:
        return {}
    try:
        return dict(oslo.parse_file_contents(Path(file).read_text()))
    except (OSError, ValueError) as error:
        raise Invalid(f"policy file {file}: {error}") from None
