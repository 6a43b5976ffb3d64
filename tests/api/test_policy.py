"""Who may do what: the defaults of every policy, and what an operator's file makes of them."""

from pathlib import Path

import pytest

from nova_async.context import Context
from nova_async.errors import Forbidden, Invalid
from nova_async.policy import RULES, Policy
from nova_async.policy.rules import BASIC
from tests.api.conftest import CALLERS, OTHER_PROJECT, PROJECT

ROLES = ("nobody", "reader", "member", "manager", "admin", "service")
# default -> callers that pass for something of their own project, and for something of another
MEANING = {
    "@": (set(ROLES), set(ROLES)),
    "!": (set(), set()),
    "rule:context_is_admin": ({"admin"}, {"admin"}),
    "rule:project_manager_or_admin": ({"manager", "admin"}, {"admin"}),
    "rule:project_member_or_admin": ({"member", "manager", "admin"}, {"admin"}),
    "rule:project_reader_or_admin": ({"reader", "member", "manager", "admin"}, {"admin"}),
    "rule:service_or_admin": ({"service", "admin"}, {"service", "admin"}),
}
NAMED = [rule for rule in RULES if rule not in BASIC and rule.default in MEANING]


@pytest.fixture(scope="module")
def policy() -> Policy:
    return Policy(RULES)


@pytest.mark.parametrize("rule", NAMED, ids=lambda r: r.name)
def test_the_default_lets_in_whom_it_should(policy, rule) -> None:
    own, foreign = MEANING[rule.default]
    assert {r for r in ROLES if policy.may(CALLERS[r], rule.name)} == own
    assert {r for r in ROLES if policy.may(CALLERS[r], rule.name, project_id="f00")} == foreign


def test_every_policy_has_a_name_once_and_a_sentence() -> None:
    names = [rule.name for rule in RULES]
    assert len(set(names)) == len(names)
    assert all(rule.sentence for rule in RULES if rule not in BASIC)


def test_roles_imply_lesser_ones(policy) -> None:
    only_admin = Context(request_id="r", user_id="u", project_id=PROJECT, roles=("Admin",))
    only_manager = Context(request_id="r", user_id="u", project_id=PROJECT, roles=("manager",))
    assert policy.may(only_admin, "os_compute_api:servers:show", project_id=OTHER_PROJECT)
    assert policy.may(only_manager, "os_compute_api:servers:create")
    assert not policy.may(only_manager, "os_compute_api:servers:create", project_id=OTHER_PROJECT)


def test_decisions_are_not_mixed_up(policy) -> None:
    for _ in range(2):
        assert policy.may(CALLERS["member"], "os_compute_api:servers:show", project_id=PROJECT)
        assert not policy.may(CALLERS["member"], "os_compute_api:servers:show", project_id=OTHER_PROJECT)
        assert policy.may(CALLERS["stranger"], "os_compute_api:servers:show", project_id=OTHER_PROJECT)


def test_an_operators_file_overrides_defaults(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text('"os_compute_api:servers:create": "role:builder"\n"os_compute_api:servers:index": "user_id:reader-user"\n')
    policy = Policy(RULES, str(file))
    builder = Context(request_id="r", user_id="u", project_id=PROJECT, roles=("builder",))
    assert policy.may(builder, "os_compute_api:servers:create")
    assert policy.may(CALLERS["reader"], "os_compute_api:servers:index")
    with pytest.raises(Forbidden, match=r"Policy doesn't allow os_compute_api:servers:create to be performed\."):
        policy.require(CALLERS["member"], "os_compute_api:servers:create")


UNREADABLE = (
    "- a list",
    "a: [",
    "just text",
    '"os_compute_api:servers:show": "nonsense"',
    '"os_compute_api:servers:show": "http://decide.example/%(name)s"',
    '"os_compute_api:servers:show": "role:a and"',
    '"os_compute_api:servers:show": 7',
    '"os_compute_api:servers:show": "rule:no_such_rule"',
    '"admin_api": "rule:context_is_admin"\n"context_is_admin": "rule:admin_api"',
)


@pytest.mark.parametrize("text", UNREADABLE)
def test_a_file_that_cannot_be_read_is_refused_at_start(tmp_path: Path, text: str) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(text)
    with pytest.raises(Invalid, match=r"policy\.yaml"):
        Policy(RULES, str(file))
    with pytest.raises(Invalid):
        Policy(RULES, str(tmp_path / "missing.yaml"))


@pytest.mark.parametrize("text", UNREADABLE)
async def test_a_file_that_cannot_be_read_again_changes_nothing(tmp_path: Path, text: str) -> None:
    file, name = tmp_path / "policy.yaml", "os_compute_api:servers:index"
    file.write_text(f'"{name}": "role:admin"\n"another rule": "!"\n')
    policy = Policy(RULES, str(file))
    assert not policy.may(CALLERS["reader"], name)

    file.write_text(text)
    with pytest.raises(Invalid, match=r"policy\.yaml"):
        await policy.reload()
    assert not policy.may(CALLERS["reader"], name)

    file.write_text(f'"{name}": "@"\n')
    await policy.reload()
    assert policy.may(CALLERS["nobody"], name)
    file.write_text("{}")
    await policy.reload()
    assert not policy.may(CALLERS["nobody"], name)
    assert policy.may(CALLERS["reader"], name)
