"""Events of other services, from outside."""

import pytest

from nova_async.bus.messages.compute import GuestList, GuestState
from nova_async.bus.messages.conductor import PortsChanged, PowerChanged
from tests.api.conftest import PORTS

PATH = "/os-server-external-events"
UNKNOWN = "b1c7b1f8-31ac-4f4e-9b1b-0b0e9a4c6e2a"
SINCE = {
    **dict.fromkeys(("network-changed", "network-vif-plugged", "network-vif-unplugged", "network-vif-deleted"), 1),
    **{"volume-extended": 51, "power-update": 76, "accelerator-request-bound": 82, "volume-reimaged": 93},
}


async def told(api, *events, caller="service", version="2.93"):
    return await api.post(PATH, {"events": list(events)}, caller, version)


def event(server, name="network-changed", **fields):
    return {"server_uuid": server, "name": name} | fields


@pytest.mark.parametrize("name", SINCE)
async def test_an_event_is_known_since_its_version(api, name) -> None:
    server = await api.server()
    assert (await told(api, event(server, name, tag="t"), version=f"2.{SINCE[name]}")).status == 200
    if SINCE[name] > 1:
        assert (await told(api, event(server, name, tag="t"), version=f"2.{SINCE[name] - 1}")).status == 400


async def test_each_event_has_a_code_of_its_own(api) -> None:
    server, nowhere = await api.server(), await api.server(state=None)
    answer = await told(
        api,
        *(event(server, status="completed", tag="p"), event(UNKNOWN), event(nowhere), event(server, "volume-extended")),
        *(event(server, "power-update"), event(server, "accelerator-request-bound"), event(server.replace("-", "").upper())),
    )
    assert answer.status == 207
    assert [e["code"] for e in answer.body["events"]] == [200, 404, 422, 400, 400, 400, 200]
    assert answer.body["events"][0] == {**event(server, tag="p"), "status": "completed", "code": 200}
    assert answer.body["events"][1] == {**event(UNKNOWN), "status": "failed", "code": 404}
    assert (await told(api, event(UNKNOWN))).status == 207


async def test_ports_that_changed_are_looked_up_anew(api) -> None:
    server = await api.server()
    for name in ("network-changed", "network-vif-plugged", "network-vif-unplugged"):
        await told(api, event(server, name))
    assert api.bus.called == [("conductor", PortsChanged(instances=(server,)))] * 3


async def test_a_port_that_is_gone_is_taken_from_the_guest(api) -> None:
    server = await api.server()
    await told(api, event(server, "network-vif-deleted", tag=PORTS[0]["id"]))
    assert api.starter.begun[-1] == ("detach_interface", server, {"port_id": PORTS[0]["id"]})
    await told(api, event(server, "network-vif-deleted", tag=PORTS[0]["id"]))  # while the first is under way
    await told(api, event(server, "network-vif-deleted", tag=UNKNOWN))
    assert [m for _, m in api.bus.called] == [PortsChanged(instances=(server,))] * 2


async def test_a_volume_that_grew_is_noted(api) -> None:
    server = await api.server()
    await told(api, event(server, "volume-extended", tag=UNKNOWN))
    assert api.starter.recorded[-1] == ("extend_volume", server, f"Volume {UNKNOWN}")


async def test_a_change_of_power_is_looked_at_on_the_host(api, monkeypatch) -> None:
    async def call(target, message, *, timeout):
        assert target == "compute.host1"
        return GuestList(host="host1", guests=(GuestState(instance_id=server, power_state=4, generation=3),))

    server = await api.server()
    assert (await told(api, event(server, "power-update", tag="POWER_OFF"))).status == 200  # the host is silent
    monkeypatch.setattr(api.bus, "call", call)
    await told(api, event(server, "power-update", tag="POWER_OFF"), event(server, "power-update", tag="SIDEWAYS"))
    assert api.bus.called[-1] == ("conductor", PowerChanged(host="host1", instance_id=server, generation=3, power_state=4))
    assert len(api.bus.called) == 2


@pytest.mark.parametrize(
    "body",
    [
        {"events": []},
        {"events": [{"name": "network-changed"}]},
        {"events": [event("no-uuid")]},
        {"events": [event(UNKNOWN, "nonesuch")]},
        {"events": [event(UNKNOWN, status="maybe")]},
        {"events": [event(UNKNOWN, tag="x" * 256)]},
        {"events": [event(UNKNOWN, more=1)]},
        {},
    ],
)
async def test_bodies_are_checked(api, body) -> None:
    assert (await api.post(PATH, body, "service", "2.93")).status == 400


@pytest.mark.parametrize(("caller", "status"), [("admin", 207), ("service", 207), ("manager", 403), ("member", 403)])
async def test_only_services_tell_events(api, caller, status) -> None:
    assert (await told(api, event(UNKNOWN), caller=caller)).status == status
