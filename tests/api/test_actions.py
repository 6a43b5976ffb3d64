"""What is done to servers by actions: when it is legal, when it is refused, and in which words."""

import pytest

from nova_async.model.states import LEGAL
from tests.api.conftest import NETWORK, PORTS

STATES = ["active", "building", "paused", "suspended", "stopped", "error"]
ACTIONS = {
    "os-start": (None, "start"),
    "os-stop": (None, "stop"),
    "pause": (None, "pause"),
    "unpause": (None, "unpause"),
    "suspend": (None, "suspend"),
    "resume": (None, "resume"),
}


@pytest.mark.parametrize("action", ACTIONS)
async def test_an_action_begins_where_it_is_legal_and_is_refused_elsewhere(api, action) -> None:
    value, kind = ACTIONS[action]
    for state in STATES:
        server = await api.server(state=state)
        answer = await api.act(server, action, value)
        if state in LEGAL[kind]:
            assert (answer.status, answer.raw) == (202, b""), state
            assert api.starter.begun[-1] == (kind, server, {})
            assert len(api.starter.gone) == len(api.starter.begun)
        else:
            assert answer.body == {
                "conflictingRequest": {
                    "code": 409,
                    "message": f"Cannot '{kind}' instance {server} while it is in vm_state {state}",
                }
            }
            assert api.starter.begun[-1][0] == "create"
        await api.starter.finish(server, deleted=True)


@pytest.mark.parametrize(("word", "state", "status"), [("SOFT", "active", 202), ("soft", "stopped", 409), ("Hard", "stopped", 202)])
async def test_reboot_is_soft_or_hard(api, word, state, status) -> None:
    server = await api.server(state=state)
    answer = await api.act(server, "reboot", {"type": word})
    assert answer.status == status
    if status == 202:
        assert api.starter.begun[-1] == ("reboot", server, {"type": word.upper()})
    else:
        assert answer.message == f"Cannot 'reboot' instance {server} while it is in vm_state stopped"


async def test_a_server_that_is_busy_refuses_everything_but_delete(api) -> None:
    server = await api.server()
    assert (await api.act(server, "os-stop")).status == 202
    answer = await api.act(server, "pause")
    assert (answer.status, answer.message) == (409, f"Cannot 'pause' instance {server} while it is in task_state powering-off")
    assert (await api.delete(f"/servers/{server}")).status == 204


async def test_a_server_that_never_ran_cannot_be_stopped(api) -> None:
    server = await api.server(state=None)
    await api.starter.finish(server, vm_state="error", host="host1")
    answer = await api.act(server, "os-stop")
    assert (answer.status, answer.message) == (409, f"Instance {server} is in an invalid state for 'stop'")


async def test_a_refused_action_leaves_no_workflow(api) -> None:
    server = await api.server(state="stopped")
    await api.act(server, "os-stop")
    async with api.database.connection() as conn:
        assert await conn.fetchval("SELECT count(*) FROM workflows WHERE state IN ('running', 'queued')") == 0


# Locks


async def test_a_locked_server_is_changed_by_administrators_only(api) -> None:
    server = await api.server()
    assert (await api.act(server, "lock")).status == 202
    assert api.starter.recorded == [("lock", server, "")]
    for answer in (await api.act(server, "os-stop"), await api.delete(f"/servers/{server}")):
        assert (answer.status, answer.message) == (409, f"Instance {server} is locked")
    assert (await api.act(server, "os-stop", caller="admin")).status == 202
    assert (await api.act(server, "unlock")).status == 202
    assert (await api.get(f"/servers/{server}", version="2.9")).body["server"]["locked"] is False


async def test_a_lock_may_have_a_reason(api) -> None:
    server = await api.server()
    assert (await api.act(server, "lock", {"locked_reason": "audit"}, version="2.73")).status == 202
    seen = (await api.get(f"/servers/{server}", version="2.73")).body["server"]
    assert (seen["locked"], seen["locked_reason"]) == (True, "audit")
    assert [s["id"] for s in (await api.get("/servers?locked=true", version="2.73")).body["servers"]] == [server]
    assert (await api.get("/servers?locked=false", version="2.73")).body["servers"] == []
    assert (await api.act(server, "lock", {"why": "x"}, version="2.73")).status == 400
    await api.act(server, "unlock")
    assert (await api.get(f"/servers/{server}", version="2.73")).body["server"]["locked_reason"] is None


async def test_the_lock_of_an_administrator_holds_against_the_owner(api) -> None:
    server = await api.server("stranger")
    assert (await api.act(server, "lock", caller="admin")).status == 202
    answer = await api.act(server, "unlock", caller="stranger")
    assert (answer.status, answer.message) == (
        403,
        "Policy doesn't allow os_compute_api:os-lock-server:unlock:unlock_override to be performed.",
    )
    assert (await api.act(server, "unlock", caller="admin")).status == 202


# Console, state


async def test_the_console_is_read_from_the_host(api) -> None:
    server = await api.server()
    answer = await api.act(server, "os-getConsoleOutput", {"length": "10"})
    assert answer.body == {"output": "login: [0m"}
    target, message = api.bus.called[-1]
    assert (target, message.instance_id, message.lines) == ("compute.host1", server, 10)
    for length in (None, -1):
        await api.act(server, "os-getConsoleOutput", {"length": length})
        assert api.bus.called[-1][1].lines is None
    assert (await api.act(server, "os-getConsoleOutput", {"length": "many"})).status == 400
    assert (await api.act(server, "os-getConsoleOutput", {}, caller="reader")).status == 403


async def test_the_console_of_a_server_without_a_host_or_with_a_silent_one_is_a_conflict(api) -> None:
    building = await api.server(state=None)
    answer = await api.act(building, "os-getConsoleOutput", {})
    assert (answer.status, answer.message) == (409, f"Instance {building} is not ready")
    await api.settle(building, host="host2")
    assert (await api.act(building, "os-getConsoleOutput", {})).status == 409


async def test_operators_set_states(api) -> None:
    server = await api.server()
    body = {"state": "error"}
    assert (await api.act(server, "os-resetState", body)).status == 403
    assert (await api.act(server, "os-resetState", body, caller="admin")).status == 202
    assert (await api.get(f"/servers/{server}")).body["server"]["status"] == "ERROR"
    assert (await api.act(server, "os-resetState", {"state": "paused"}, caller="admin")).status == 400


async def test_force_delete_is_delete(api) -> None:
    server = await api.server()
    assert (await api.act(server, "forceDelete")).status == 202
    assert api.starter.begun[-1] == ("delete", server, {})


# What hangs below a server


async def test_interfaces_are_the_ports_as_bound(api) -> None:
    server = await api.server()
    (interface,) = (await api.get(f"/servers/{server}/os-interface", version="2.70")).body["interfaceAttachments"]
    assert interface == {
        "port_state": "ACTIVE",
        "fixed_ips": [{"subnet_id": "f8a6e8f8-c2ec-497c-9f23-da9616de54ef", "ip_address": "10.0.0.5"}],
        "port_id": PORTS[0]["id"],
        "net_id": NETWORK,
        "mac_addr": "fa:16:3e:4c:2c:30",
        "tag": None,
    }
    one = await api.get(f"/servers/{server}/os-interface/{PORTS[0]['id']}", version="2.69")
    assert one.body["interfaceAttachment"] == {key: value for key, value in interface.items() if key != "tag"}
    assert (await api.get(f"/servers/{server}/os-interface/{NETWORK}")).status == 404


async def test_the_posted_password_is_read_and_forgotten(api) -> None:
    server = await api.server()
    await api.starter.finish(server, password_data="encrypted")
    assert (await api.get(f"/servers/{server}/os-server-password")).body == {"password": "encrypted"}
    assert (await api.delete(f"/servers/{server}/os-server-password")).status == 204
    assert (await api.get(f"/servers/{server}/os-server-password")).body == {"password": ""}


# Dispatch


async def test_bodies_that_name_no_action_are_refused(api) -> None:
    server = await api.server()
    path = f"/servers/{server}/action"
    for body in ({"os-start": None, "os-stop": None}, {}, [], "os-start", b"", b"{", b'{"os-stop": null, "os-stop": null}'):
        answer = await api.post(path, body)
        assert (answer.status, answer.message) == (400, "Malformed request body"), body
    assert (await api.post(path, {"bogus": None})).message == "There is no such action: bogus"
    gone = await api.post(path, {"resetNetwork": None})
    assert gone.body == {"computeFault": {"code": 410, "message": "This resource is no longer available. No forwarding address is given."}}


async def test_servers_were_also_under_os_volumes_boot(api) -> None:
    server = await api.server()
    assert (await api.get(f"/os-volumes_boot/{server}", version="2.102")).status == 200
    assert (await api.get(f"/os-volumes_boot/{server}", version="2.103")).status == 404
