"""Decisions, made by oslo.policy and remembered.

A decision depends on nothing but the rule, the caller and the owner of the target, so that equal questions need one
evaluation; the memory is bounded.
"""

import asyncio
import re
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from oslo_config import cfg
from oslo_policy import _checks
from oslo_policy import policy as oslo

from nova_async import log
from nova_async.context import Context
from nova_async.errors import Forbidden, Invalid
from nova_async.policy.renamed import OLD_NAMES, under_new_names
from nova_async.policy.rule import NOBODY, Rule
from nova_async.policy.rules import BASIC

IMPLIED: dict[str, tuple[str, ...]] = {
    "admin": ("manager", "member", "reader"),
    "manager": ("member", "reader"),
    "member": ("reader",),
}  # as the identity service implies them
REMEMBERED = 20_000
REMOTE = re.compile(r"\bhttps?:")
ANY_SCOPE = frozenset(rule.name for rule in BASIC)  # all others are for tokens of a project
# oslo.policy would look through all installed packages for checks of other kinds. Its own of that sort ask another service over HTTP,
# which is refused (REMOTE): a third of a second of each start, for nothing.
_checks.extension_checks = {}
logger = log.get("policy")


class Policy:
    """``may`` answers, ``require`` raises. ``file`` overrides defaults by name, in oslo.policy's YAML."""

    def __init__(self, rules: Iterable[Rule], file: str = "") -> None:
        self._defaults, self._file = {rule.name: rule.default for rule in rules}, file
        self._enforcer = _enforcer(self._defaults, file)
        self._decided: dict[tuple[str | bool | tuple[str, ...], ...], bool] = {}

    def __contains__(self, name: object) -> bool:
        """Whether there is such a policy."""
        return name in self._defaults

    async def reload(self) -> None:
        """Read the file again. Raises ``Invalid``, and then decides as before."""
        self._enforcer = await asyncio.to_thread(_enforcer, self._defaults, self._file)
        self._decided = {}

    def may(self, ctx: Context, name: str, *, project_id: str | None = None, user_id: str | None = None) -> bool:
        """Whether the caller may do it to something of this owner (None: the caller's own). Unknown names are a programmer's error."""
        project = ctx.project_id if project_id is None else project_id
        user = ctx.user_id if user_id is None else user_id
        key = (name, ctx.roles, ctx.user_id, ctx.project_id, ctx.user_domain_id, ctx.project_domain_id, ctx.other_scope, project, user)
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
        if name not in self._defaults:
            raise KeyError(name)
        if ctx.other_scope and name not in ANY_SCOPE:
            return False
        roles = {role.lower() for role in ctx.roles}
        credentials = {
            "user_id": ctx.user_id,
            "project_id": ctx.project_id,
            "user_domain_id": ctx.user_domain_id,
            "project_domain_id": ctx.project_domain_id,
            "roles": sorted(roles.union(*(IMPLIED.get(role, ()) for role in roles))),
            "is_admin": "admin" in roles,
            "is_admin_project": True,
            "system_scope": "all" if ctx.system_scope else None,
            "domain_id": ctx.domain_id or None,
        }
        target = {"project_id": project, "user_id": user}
        return bool(self._enforcer.enforce(name, target, credentials))


def _enforcer(defaults: dict[str, str], file: str) -> oslo.Enforcer:
    """Of the defaults and the operator's file. Raises ``Invalid`` for a file that cannot be read, or is not understood in every part."""
    overrides = _overrides(file)
    renamed = under_new_names(overrides, frozenset(defaults))
    rules = oslo.Rules.from_dict(defaults | renamed | overrides)
    for name, text in overrides.items():
        if str(rules[name]) == NOBODY and text.strip() != NOBODY:  # what oslo.policy makes of a text that it cannot parse
            raise Invalid(f"policy file {file}: the rule of {name} is not understood: {text}")
    asked = {name: frozenset(_asked(check)) for name, check in rules.items()}
    _check_references(file, asked)
    for name in sorted(overrides.keys() - defaults.keys() - frozenset().union(*asked.values())):
        if name in OLD_NAMES:
            logger.warning("policy.renamed", name=name, now=sorted(new for new in renamed if overrides[name] == renamed[new]))
        else:
            logger.warning("policy.unknown", name=name, file=file)
    enforcer = oslo.Enforcer(cfg.ConfigOpts(), use_conf=False)
    enforcer.set_rules(rules, use_conf=False)
    return enforcer


def _overrides(file: str) -> dict[str, str]:
    """The rules of an operator's file."""
    if not file:
        return {}
    try:
        overrides = dict(oslo.parse_file_contents(Path(file).read_text()))
    except (OSError, ValueError) as error:
        raise Invalid(f"policy file {file}: {error}") from None
    for name, text in overrides.items():
        if not isinstance(name, str) or not isinstance(text, str):
            raise Invalid(f"policy file {file}: {name}: a name and a text are expected.")
        if REMOTE.search(text):
            raise Invalid(f"policy file {file}: the rule of {name} asks another service, which would hold up every request.")
    return overrides


def _asked(check: Any) -> Iterator[str]:
    """The rules that a check asks for by name."""
    if isinstance(check, oslo.RuleCheck):
        yield check.match
    for part in getattr(check, "rules", ()):
        yield from _asked(part)
    if isinstance(check, oslo.NotCheck):
        yield from _asked(check.rule)


def _check_references(file: str, asked: dict[str, frozenset[str]]) -> None:
    """Raises ``Invalid`` for a rule that asks for one that does not exist, or for itself by way of others."""
    for name, others in asked.items():
        for missing in sorted(others - asked.keys()):
            raise Invalid(f"policy file {file}: the rule of {name} asks for rule:{missing}, which does not exist.")
    try:
        TopologicalSorter(asked).prepare()
    except CycleError as error:
        raise Invalid(f"policy file {file}: rules ask for each other in a circle: {', '.join(error.args[1])}.") from None
