"""Who may do what: the defaults of every policy, and what an operator's file makes of them."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from nova_async.context import Context
from nova_async.errors import Forbidden, Invalid
from nova_async.policy import RULES, Policy
from nova_async.policy.renamed import PREFIX, RENAMED
from nova_async.policy.rules import BASIC
from tests.api.access import WHO
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


CHECKS = {  # what a rule may say -> who passes for something of the own project
    "@": set(ROLES),
    "!": set(),
    "": set(ROLES),
    "role:member": {"member", "manager", "admin"},
    "role:MEMBER": {"member", "manager", "admin"},
    "not role:member": {"nobody", "reader", "service"},
    "role:service or role:manager": {"service", "manager", "admin"},
    "role:reader and not role:manager": {"reader", "member"},
    "(role:service or role:reader) and not (role:member or role:admin)": {"reader", "service"},
    "user_id:reader-user": {"reader"},
    "project_id:%(project_id)s": set(ROLES),
    "user_id:%(user_id)s": set(ROLES),
    f"project_id:{OTHER_PROJECT}": set(),
    f"'{PROJECT}':%(project_id)s": set(ROLES) - {"service"},
    "is_admin:True": {"admin"},
    "is_admin_project:True": set(ROLES),
    "system_scope:all": set(),
    "no_such_key:%(nor_this)s": set(),
    "rule:service_api": {"service"},
    "rule:mine": {"reader", "manager"},
}


@pytest.mark.parametrize("text", CHECKS)
def test_a_rule_means_what_it_means_in_oslo_policy(tmp_path: Path, text: str) -> None:
    file, name = tmp_path / "policy.yaml", "os_compute_api:servers:create"
    file.write_text(f'"{name}": "{text}"\n"mine": "user_id:reader-user or user_id:manager-user"\n')
    policy = Policy(RULES, str(file))
    assert {role for role in ROLES if policy.may(CALLERS[role], name)} == CHECKS[text]


def test_nothing_is_for_tokens_that_are_not_of_a_project(policy) -> None:
    system = Context(request_id="r", user_id="u", roles=("admin", "member", "reader"), system_scope=True)
    domain = Context(request_id="r", user_id="u", roles=("admin", "member", "reader"), domain_id="default")
    names = [rule.name for rule in RULES if rule not in BASIC]
    assert [name for name in names if policy.may(system, name) or policy.may(domain, name)] == []


def overridden(tmp_path: Path, **rules: str) -> Policy:
    file = tmp_path / "policy.yaml"
    file.write_text("".join(f'"os_compute_api:{name}": "{text}"\n' for name, text in rules.items()))
    return Policy(RULES, str(file))


def test_an_old_name_holds_for_what_became_of_it(tmp_path: Path) -> None:
    policy = overridden(tmp_path, **{"os-hypervisors": "role:reader", "os-hypervisors:uptime": "role:admin"})
    assert policy.may(CALLERS["reader"], "os_compute_api:os-hypervisors:list")
    assert policy.may(CALLERS["reader"], "os_compute_api:os-hypervisors:servers")
    assert not policy.may(CALLERS["reader"], "os_compute_api:os-hypervisors:uptime")  # has a rule of its own


def test_an_old_name_that_still_is_one_holds_for_both(tmp_path: Path) -> None:
    policy = overridden(tmp_path, **{"os-rescue": "!"})
    assert not policy.may(CALLERS["admin"], "os_compute_api:os-rescue")
    assert not policy.may(CALLERS["admin"], "os_compute_api:os-unrescue")


def test_an_old_name_says_nothing_by_its_old_default_or_by_its_new_name(tmp_path: Path) -> None:
    policy = overridden(tmp_path, **{"os-hypervisors": "rule:admin_api", "os-multinic": "rule:os_compute_api:os-multinic:add"})
    assert not policy.may(CALLERS["reader"], "os_compute_api:os-hypervisors:list")
    assert policy.may(CALLERS["member"], "os_compute_api:os-multinic:add")
    assert not policy.may(CALLERS["reader"], "os_compute_api:os-multinic:remove")


def test_every_old_name_leads_to_policies_of_novas() -> None:
    new = [PREFIX + name for renamed in RENAMED for name in renamed.now]
    assert len(new) == len(set(new)) == 69
    assert set(new) <= WHO.keys()


def test_the_log_tells_of_old_names_and_of_names_that_mean_nothing(tmp_path: Path) -> None:
    with capture_logs() as told:
        overridden(
            tmp_path,
            **{"os-hypervisors": "role:reader", "os-server-grops:index": "@", "servers:index": "rule:os_compute_api:mine"} | {"mine": "@"},
        )
    assert [(line["event"], line["name"].removeprefix(PREFIX)) for line in told] == [
        ("policy.renamed", "os-hypervisors"),
        ("policy.unknown", "os-server-grops:index"),
    ]


UNREADABLE = {  # and what the refusal must name
    "- a list": "policy.yaml",
    "a: [": "line 1",
    "just text": "policy.yaml",
    '"os_compute_api:servers:show": "nonsense"': "os_compute_api:servers:show is not understood: nonsense",
    '"os_compute_api:servers:show": "http://decide.example/%(name)s"': "os_compute_api:servers:show",
    '"os_compute_api:servers:show": "role:a and"': "os_compute_api:servers:show is not understood: role:a and",
    '"os_compute_api:servers:show": 7': "os_compute_api:servers:show",
    '"os_compute_api:servers:show": "rule:no_such_rule"': "os_compute_api:servers:show asks for rule:no_such_rule",
    '"os_compute_api:servers:show": "not rule:no_such_rule"': "os_compute_api:servers:show asks for rule:no_such_rule",
    '"mine": "role:a or (role:b and rule:nothing)"': "mine asks for rule:nothing",
    '"admin_api": "rule:context_is_admin"\n"context_is_admin": "rule:admin_api"': "admin_api",
}


@pytest.mark.parametrize("text", UNREADABLE)
def test_a_file_that_cannot_be_read_is_refused_at_start_and_the_rule_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(text)
    with pytest.raises(Invalid, match=r"policy\.yaml") as refused:
        Policy(RULES, str(file))
    assert UNREADABLE[text] in refused.value.message
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


@pytest.mark.parametrize("spelling", [str, str.lower, lambda name: name.replace("-", "_")], ids=["as it is", "lower", "underscores"])
async def test_nobody_is_believed_what_headers_say_beside_the_token(api, spelling) -> None:
    """SEC-039."""
    claims = {"X-Roles": "admin", "X-Role": "admin", "X-User-Id": "admin", "X-Project-Id": OTHER_PROJECT, "X-Identity-Status": "Confirmed"}
    headers = {spelling(name): value for name, value in claims.items()}
    stranger = await api.server("stranger")
    assert (await api.get("/servers", None, headers=headers)).status == 401
    assert (await api.get("/os-services", "member", headers=headers)).status == 403
    assert (await api.get(f"/servers/{stranger}", "member", headers=headers)).status == 404
    assert (await api.get("/servers", "member", headers=headers)).body["servers"] == []
