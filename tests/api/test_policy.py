"""Who may do what: the defaults of every policy, and that every row of the table obeys its own."""

from pathlib import Path

import pytest

from nova_async.api.routes import ROUTES
from nova_async.context import Context
from nova_async.errors import Forbidden, Invalid
from nova_async.policy import RULES, Policy
from nova_async.policy.rules import BASIC
from tests.api.conftest import CALLERS, IMAGE, NETWORK, OTHER_PROJECT, PROJECT

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


def test_every_row_names_a_policy_that_exists() -> None:
    names = {rule.name for rule in RULES}
    assert {route.policy for route in ROUTES if route.policy} <= names


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


@pytest.mark.parametrize("text", ["- a list", "a: [", "just text"])
def test_a_file_that_cannot_be_read_is_refused_at_start(tmp_path: Path, text: str) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(text)
    with pytest.raises(Invalid):
        Policy(RULES, str(file))
    with pytest.raises(Invalid):
        Policy(RULES, str(tmp_path / "missing.yaml"))


SERVER_ROWS = [
    r for r in ROUTES if r.target == "server" and r.handler is not None and r.policy and not r.path.startswith("/os-volumes_boot")
]


@pytest.mark.parametrize("route", SERVER_ROWS, ids=lambda r: f"{r.method} {r.path} {r.action or ''}")
async def test_rows_on_a_server_obey_their_policy(api, route) -> None:
    """Refused roles get 403, other projects 404, whatever the body; the others never 403 from this policy."""
    server = await api.server()
    path = route.path.replace("{id}", server, 1) if route.path.startswith("/servers/{id}") else route.path.replace("{server_id}", server)
    path = path.replace("{id}", "x")
    default = next(rule.default for rule in RULES if rule.name == route.policy)
    allowed, _ = MEANING[default]
    body = BODIES.get(route.action or f"{route.method} {route.path}", {route.action: None} if route.action else {})
    version = f"2.{max(route.since, min(route.until, 95))}"
    for role in ("nobody", "reader", "member", "manager"):
        if role in allowed:
            continue
        answer = await api.ask(route.method, path, role, version, body if route.method in ("POST", "PUT") else None)
        assert (answer.status, answer.message) == (403, f"Policy doesn't allow {route.policy} to be performed."), (role, answer)
    answer = await api.ask(route.method, path, "stranger", version, body if route.method in ("POST", "PUT") else None)
    assert (answer.status, answer.message) == (404, f"Instance {server} could not be found."), answer


BODIES = {
    "rebuild": {"rebuild": {"imageRef": IMAGE}},
    "resize": {"resize": {"flavorRef": "2"}},
    "os-migrateLive": {"os-migrateLive": {"host": None, "block_migration": "auto"}},
    "evacuate": {"evacuate": {}},
    "createImage": {"createImage": {"name": "n"}},
    "createBackup": {"createBackup": {"name": "n", "backup_type": "daily", "rotation": 1}},
    "changePassword": {"changePassword": {"adminPass": "p"}},
    "addSecurityGroup": {"addSecurityGroup": {"name": "n"}},
    "removeSecurityGroup": {"removeSecurityGroup": {"name": "n"}},
    "addFixedIp": {"addFixedIp": {"networkId": NETWORK}},
    "removeFixedIp": {"removeFixedIp": {"address": "10.0.0.5"}},
    "addFloatingIp": {"addFloatingIp": {"address": "10.0.0.5"}},
    "removeFloatingIp": {"removeFloatingIp": {"address": "10.0.0.5"}},
    "os-getVNCConsole": {"os-getVNCConsole": {"type": "novnc"}},
    "os-getSPICEConsole": {"os-getSPICEConsole": {"type": "spice-html5"}},
    "os-getSerialConsole": {"os-getSerialConsole": {"type": "serial"}},
    "POST /servers/{server_id}/remote-consoles": {"remote_console": {"protocol": "vnc", "type": "novnc"}},
    "POST /servers/{server_id}/os-interface": {"interfaceAttachment": {}},
    "POST /servers/{server_id}/os-volume_attachments": {"volumeAttachment": {"volumeId": IMAGE}},
    "PUT /servers/{server_id}/os-volume_attachments/{id}": {"volumeAttachment": {"volumeId": IMAGE}},
    "POST /servers/{server_id}/shares": {"share": {"share_id": IMAGE}},
    "PUT /servers/{id}": {"server": {"name": "n"}},
    "reboot": {"reboot": {"type": "HARD"}},
    "os-getConsoleOutput": {"os-getConsoleOutput": {}},
    "os-resetState": {"os-resetState": {"state": "error"}},
    "POST /servers/{server_id}/metadata": {"metadata": {}},
    "PUT /servers/{server_id}/metadata": {"metadata": {}},
    "PUT /servers/{server_id}/metadata/{id}": {"meta": {"x": "y"}},
    "PUT /servers/{server_id}/tags": {"tags": []},
}
