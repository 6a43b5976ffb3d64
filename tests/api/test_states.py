"""Which action is legal in which state: Nova's table, tried in every vm_state with several task_states, and in Nova's words."""

from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest

from tests.api.conftest import IMAGE, PORTS, Answer, Api

VM_STATES = (
    *("active", "building", "paused", "suspended", "stopped", "rescued", "resized", "soft-delete", "error", "shelved"),
    "shelved_offloaded",
)
TASKS = (None, "powering-off", "migrating", "deleting", "rebooting_hard")
POWERS = (0, 4)
ANY = frozenset(VM_STATES)
IDLE, ALWAYS, MIGRATING = frozenset({None}), frozenset(TASKS), frozenset({"migrating"})
NOT_BUSY = ALWAYS - {"deleting", "migrating"}
SETTLED = frozenset({"active", "stopped", "paused", "suspended"})
NOBODY = "00000000-0000-4000-8000-000000000000"


class Action(NamedTuple):
    """One thing that is done to a server, and when Nova lets it begin.

    ``passes``: the statuses of what was let through, whatever is found out later (a missing volume, say). ``word`` is what
    texts call it. ``held``: a lock holds it. ``placed``: it needs a host; ``first``: which is looked at before the states.
    ``launched``: the server must have run once.
    """

    passes: frozenset[int]
    vm_states: frozenset[str]
    word: str
    body: Any = None
    tasks: frozenset[str | None] = IDLE
    held: bool = True
    placed: bool = False
    first: bool = False
    launched: bool = True
    caller: str = "member"
    version: str = "2.1"
    method: str = "POST"
    path: str = "/action"


def action(status: int, vm_states: str, word: str, **more: Any) -> Action:
    return Action(frozenset({status}), frozenset(vm_states.split()), word, **more)


def anytime(*passes: int, **more: Any) -> Action:
    """Nothing of the states matters."""
    return Action(frozenset(passes), ANY, "", **{"tasks": ALWAYS, "launched": False} | more)


def below(rest: str, method: str, **more: Any) -> dict[str, Any]:
    return {"path": rest, "method": method, **more}


NOTED: dict[str, Any] = {"tasks": ALWAYS, "launched": False}  # metadata and tags
ACTIONS: dict[str, Action] = {
    "delete": anytime(204, held=True, path="", method="DELETE"),
    "forceDelete": anytime(202, body={"forceDelete": None}),
    "restore": action(202, "soft-delete", "restore", body={"restore": None}),
    "start": action(202, "stopped", "start", body={"os-start": None}, placed=True, first=True),
    "stop": action(202, "active error", "stop", body={"os-stop": None}, placed=True, first=True),
    "reboot soft": action(202, "active", "reboot", body={"reboot": {"type": "SOFT"}}),
    "reboot hard": action(
        *(202, "active stopped paused suspended error", "reboot"),
        **{"body": {"reboot": {"type": "HARD"}}, "tasks": frozenset({None, "rebooting_hard"})},
    ),
    "pause": action(202, "active", "pause", body={"pause": None}),
    "unpause": action(202, "paused", "unpause", body={"unpause": None}),
    "suspend": action(202, "active", "suspend", body={"suspend": None}),
    "resume": action(202, "suspended", "resume", body={"resume": None}),
    "rescue": action(200, "active stopped error", "rescue", body={"rescue": None}),
    "unrescue": action(202, "rescued", "unrescue", body={"unrescue": None}),
    "resize": action(202, "active stopped", "resize", body={"resize": {"flavorRef": "2"}}, placed=True),
    "migrate": action(202, "active stopped", "migrate", body={"migrate": None}, placed=True, caller="manager"),
    "confirmResize": action(204, "resized", "confirmResize", body={"confirmResize": None}),
    "revertResize": action(202, "resized", "revertResize", body={"revertResize": None}),
    "rebuild": action(202, "active stopped error", "rebuild", body={"rebuild": {"imageRef": IMAGE}}),
    "evacuate": Action(
        *(frozenset({400}), frozenset({"active", "stopped", "error"}), "evacuate", {"evacuate": {}}, ALWAYS),
        **{"held": False, "placed": True, "caller": "admin", "version": "2.14"},
    ),
    "live-migrate": action(
        *(202, "active paused", "os-migrateLive"),
        **{"body": {"os-migrateLive": {"host": None, "block_migration": "auto"}}, "placed": True, "caller": "manager", "version": "2.34"},
    ),
    "force_complete": action(
        *(400, "active", "force_complete"),
        **below("/migrations/7/action", "POST", body={"force_complete": None}, tasks=MIGRATING, caller="manager", version="2.22"),
    ),
    "abort": Action(
        *(frozenset({404}), ANY, "abort live migration"),
        **below("/migrations/7", "DELETE", tasks=MIGRATING, caller="manager", version="2.24"),
    ),
    "shelve": action(202, " ".join(SETTLED), "shelve", body={"shelve": None}),
    "shelveOffload": action(202, "shelved", "shelveOffload", body={"shelveOffload": None}, caller="admin"),
    "unshelve": action(202, "shelved shelved_offloaded", "unshelve", body={"unshelve": None}),
    "createImage": action(202, " ".join(SETTLED), "createImage", body={"createImage": {"name": "i"}}, held=False),
    "createBackup": action(
        *(202, " ".join(SETTLED), "createBackup"),
        **{"body": {"createBackup": {"name": "b", "backup_type": "daily", "rotation": 1}}, "held": False},
    ),
    "changePassword": action(501, "active", "changePassword", body={"changePassword": {"adminPass": "x"}}, placed=True),
    "trigger_crash_dump": action(
        *(202, "active paused rescued resized error", "trigger_crash_dump"),
        **{"body": {"trigger_crash_dump": None}, "placed": True, "first": True, "version": "2.17"},
    ),
    "attach volume": action(
        *(404, "active paused stopped resized soft-delete shelved shelved_offloaded", "attach_volume"),
        **below("/os-volume_attachments", "POST", body={"volumeAttachment": {"volumeId": NOBODY}}, version="2.20"),
    ),
    "attach interface": action(
        *(404, "active paused stopped", "attach_interface"),
        **below("/os-interface", "POST", body={"interfaceAttachment": {"net_id": NOBODY}}),
    ),
    "detach interface": action(202, "active paused stopped", "detach_interface", **below(f"/os-interface/{PORTS[0]['id']}", "DELETE")),
    "add metadata": action(200, " ".join(SETTLED), "update metadata", **below("/metadata", "POST", body={"metadata": {"a": "b"}}, **NOTED)),
    "set metadata": action(200, " ".join(SETTLED), "update metadata", **below("/metadata", "PUT", body={"metadata": {"a": "b"}}, **NOTED)),
    "delete metadata": action(204, " ".join(SETTLED), "delete metadata", **below("/metadata/kept", "DELETE", **NOTED)),
    "set tags": action(
        *(200, " ".join(SETTLED), "update tags"),
        **below("/tags", "PUT", body={"tags": ["x"]}, held=False, version="2.26", **NOTED),
    ),
    "add tag": action(201, " ".join(SETTLED), "update tag", **below("/tags/new", "PUT", held=False, version="2.26", **NOTED)),
    "delete tag": action(204, " ".join(SETTLED), "delete tag", **below("/tags/kept", "DELETE", held=False, version="2.26", **NOTED)),
    "delete tags": action(204, " ".join(SETTLED), "delete tags", **below("/tags", "DELETE", held=False, version="2.26", **NOTED)),
    "attach share": Action(
        *(frozenset({409}), frozenset({"stopped"}), "create share", {"share": {"share_id": NOBODY}}, ALWAYS),
        **below("/shares", "POST", held=False, launched=False, version="2.97"),
    ),
    "detach share": Action(
        *(frozenset({404}), frozenset({"stopped", "error"}), "delete share", None, ALWAYS),
        **below(f"/shares/{NOBODY}", "DELETE", held=False, launched=False, version="2.97"),
    ),
    "console": Action(
        *(frozenset({200}), ANY, "get_vnc_console", {"remote_console": {"protocol": "vnc", "type": "novnc"}}, NOT_BUSY),
        **below("/remote-consoles", "POST", held=False, placed=True, first=True, launched=False, version="2.6"),
    ),
    "console output": anytime(200, body={"os-getConsoleOutput": {}}, held=False, placed=True),
    "diagnostics": anytime(200, held=False, placed=True, caller="admin", path="/diagnostics", method="GET"),
    "lock": anytime(202, body={"lock": None}, held=False),
    "unlock": anytime(202, body={"unlock": None}, held=False),
    "resetState": anytime(202, body={"os-resetState": {"state": "active"}}, held=False, caller="admin"),
    "add security group": anytime(404, body={"addSecurityGroup": {"name": "g"}}, held=False),
    "remove security group": anytime(404, body={"removeSecurityGroup": {"name": "g"}}, held=False),
    "injectNetworkInfo": anytime(202, body={"injectNetworkInfo": None}, caller="admin"),
}
HELD = {name: what for name, what in ACTIONS.items() if what.held and what.caller != "admin"}
UNHELD = {name: what for name, what in ACTIONS.items() if not what.held}


class Stage:
    """One server whose row is set as wanted before each request."""

    def __init__(self, api: Api, server: str) -> None:
        self.api, self.server = api, server

    async def set(self, vm_state: str = "active", task_state: str | None = None, **columns: Any) -> None:
        async with self.api.database.transaction() as conn:
            await conn.execute("DELETE FROM workflows")
            if task_state is not None:
                await conn.execute(
                    "INSERT INTO workflows (id, kind, subject_id, state, task_state, input, context, request_id) "
                    "VALUES (gen_random_uuid(), 'something', $1, 'running', $2, '{}', '{}', 'req-1')",
                    *(self.server, task_state),
                )
            values = {
                **{"vm_state": vm_state, "power_state": 1, "host": "host1", "launched_at": datetime.now(UTC), "locked_by": None},
                **{"locked_reason": None, "metadata": {"kept": "x"}, "tags": ["kept"], "ports": PORTS, "deleted": False},
            } | columns
            for name, value in values.items():
                await conn.execute(f"UPDATE instances SET {name} = $2 WHERE uuid = $1", self.server, value)

    async def ask(self, what: Action, caller: str | None = None) -> Answer:
        return await self.api.ask(what.method, f"/servers/{self.server}{what.path}", caller or what.caller, what.version, what.body)


@pytest.fixture
async def stage(api: Api) -> Stage:
    await api.flavor("2", vcpus=2)
    async with api.database.connection() as conn:
        await conn.execute(
            "INSERT INTO hosts (id, name, service_id, availability_zone, facts) "
            "VALUES (gen_random_uuid(), 'host1', gen_random_uuid(), 'nova', '{}')"
        )
    return Stage(api, await api.server())


def passed(what: Action, answer: Answer) -> bool:
    return answer.status in what.passes and (answer.status < 400 or not answer.message.startswith("Cannot '"))


@pytest.mark.parametrize("name", ACTIONS)
async def test_an_action_begins_in_its_states_only(stage: Stage, name: str) -> None:
    what = ACTIONS[name]
    wrong = []
    for vm_state in VM_STATES:
        for task_state in TASKS:
            await stage.set(vm_state, task_state)
            answer = await stage.ask(what)
            attribute, value = ("task_state", task_state) if vm_state in what.vm_states else ("vm_state", vm_state)
            refused = f"Cannot '{what.word}' instance {stage.server} while it is in {attribute} {value}"
            if vm_state in what.vm_states and task_state in what.tasks:
                right = passed(what, answer)
            else:
                right = answer.status == 409 and answer.body == {"conflictingRequest": {"code": 409, "message": refused}}
            if not right:
                wrong.append((vm_state, task_state, answer))
    assert not wrong, "\n".join(map(str, wrong))


@pytest.mark.parametrize("name", HELD)
async def test_a_lock_holds_an_action_whatever_the_state(stage: Stage, name: str) -> None:
    what = HELD[name]
    for vm_state in (legal(what), "building"):
        await stage.set(vm_state, next(iter(what.tasks & MIGRATING), None), locked_by="owner")
        answer = await stage.ask(what)
        assert (answer.status, answer.message) == (409, f"Instance {stage.server} is locked")
    await stage.set(legal(what), next(iter(what.tasks & MIGRATING), None), locked_by="owner")
    assert passed(what, await stage.ask(what, "admin"))


@pytest.mark.parametrize("name", UNHELD)
async def test_a_lock_lets_the_others_through(stage: Stage, name: str) -> None:
    await stage.set(legal(UNHELD[name]), locked_by="owner")
    assert passed(UNHELD[name], await stage.ask(UNHELD[name]))


@pytest.mark.parametrize("name", [name for name, what in ACTIONS.items() if what.placed])
async def test_a_server_on_no_host_is_not_ready(stage: Stage, name: str) -> None:
    what = ACTIONS[name]
    await stage.set(legal(what), host=None)
    answer = await stage.ask(what)
    assert (answer.status, answer.message) == (409, f"Instance {stage.server} is not ready")
    if what.vm_states != ANY:
        await stage.set("building", host=None)
        words = f"Instance {stage.server} is not ready" if what.first else f"Cannot '{what.word}' instance {stage.server} while"
        assert (await stage.ask(what)).message.startswith(words)


@pytest.mark.parametrize("name", [name for name, what in ACTIONS.items() if what.launched])
async def test_a_server_that_never_ran_is_in_an_invalid_state(stage: Stage, name: str) -> None:
    what = ACTIONS[name]
    await stage.set(legal(what), next(iter(what.tasks & MIGRATING), None), launched_at=None)
    answer = await stage.ask(what)
    assert (answer.status, answer.message) == (409, f"Instance {stage.server} is in an invalid state for '{what.word}'")


async def test_the_power_state_decides_nothing(stage: Stage) -> None:
    for power in POWERS:
        for name, what in ACTIONS.items():
            await stage.set(legal(what), next(iter(what.tasks & MIGRATING), None), power_state=power)
            assert passed(what, await stage.ask(what)), (name, power)


async def test_what_is_deleted_is_not_there(stage: Stage) -> None:
    for name, what in ACTIONS.items():
        await stage.set("deleted", deleted=True)
        answer = await stage.ask(what)
        assert (answer.status, answer.message) == (404, f"Instance {stage.server} could not be found."), name


def legal(what: Action) -> str:
    """A vm_state in which it begins: the first of the table that is one."""
    return next(state for state in VM_STATES if state in what.vm_states)
