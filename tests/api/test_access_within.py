"""Policies decided within requests let in whom Nova lets in, and an operator's file switches each of them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from nova_async.api.routes import ROUTES
from nova_async.policy import RULES, Policy
from nova_async.policy.rule import ANY, NOBODY
from nova_async.policy.rules import BASIC
from tests.api.access import OURS, WHO, allowed
from tests.api.access_within import ELSEWHERE, HOST, WITHIN, Stage
from tests.api.conftest import CALLERS, PROJECT, Api

Switch = Callable[..., None]
# To all projects' groups leads the administrator's own check alone; the policy can only close it.
ALL_GROUPS = "os_compute_api:os-server-groups:index:all_projects"


@pytest.fixture
def switch(api: Api, tmp_path: Path) -> Switch:
    """Give the service an operator's file with these rules."""
    file = tmp_path / "policy.yaml"

    def given(rules: dict[str, str]) -> None:
        file.write_text("".join(f'"{name}": "{text}"\n' for name, text in rules.items()) or "{}")
        api.parts.policy = Policy(RULES, str(file))

    return given


async def test_what_is_decided_within_requests_follows_the_policy(api: Api, switch: Switch, capsys: pytest.CaptureFixture[str]) -> None:
    stage = Stage(api)
    await stage.set()
    cells, wrong = 0, []
    for within in WITHIN:
        others = {HOST: NOBODY} if within.policy.startswith(f"{HOST}:") else {}
        for rule in (None, ANY, NOBODY):
            switch(others | ({within.policy: rule} if rule else {}))
            for caller in CALLERS:
                if CALLERS[caller].project_id != PROJECT or not allowed(caller, within.row):
                    continue
                due = allowed(caller, within.policy) if rule is None else rule == ANY
                cells += 1
                if await within.ask(stage, caller) != due:
                    wrong.append((within.policy, rule, caller, f"not {due}"))
    with capsys.disabled():
        print(f"\npolicies within requests: {cells} cells, {len(wrong)} wrong")
    assert wrong == []


async def test_all_projects_groups_can_be_closed_to_administrators(api: Api, switch: Switch) -> None:
    path = "/os-server-groups?all_projects=1"
    assert ((await api.get(path, "admin")).status, (await api.get(path, "member")).status) == (200, 200)
    switch({ALL_GROUPS: NOBODY})
    assert ((await api.get(path, "admin")).status, (await api.get(path, "member")).status) == (403, 200)


def test_every_policy_is_decided_somewhere() -> None:
    of_rows = {route.policy for route in ROUTES}
    within = {within.policy for within in WITHIN} | {ALL_GROUPS}
    names = {rule.name for rule in RULES if rule not in BASIC}
    assert names - of_rows - within == ELSEWHERE.keys() & names
    assert names <= WHO.keys() | OURS.keys()
