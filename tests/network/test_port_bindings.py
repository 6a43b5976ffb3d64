"""Bindings of ports to hosts, as a compute service asks for them around a live migration."""

from tests.network.test_network_http import Api, api, networks

__all__ = ["api", "networks"]


async def a_port(api: Api, **fields: object) -> str:
    [private] = (await api("alice", "GET", "/v2.0/networks?name=private"))[1]["networks"]
    values = {"network_id": private["id"], "project_id": "alice", "device_owner": "compute:nova", "binding:host_id": "h1", **fields}
    return str((await api.make("admin", "/v2.0/ports", **values))["id"])


async def test_a_port_is_got_ready_for_a_host_and_moves_there(api: Api) -> None:
    port = await a_port(api)
    path = f"/v2.0/ports/{port}/bindings"
    ready = {"host": "h2", "vnic_type": "normal", "profile": {"migrating_to": "h2"}}

    status, body = await api("admin", "POST", path, {"binding": ready})

    shown = ready | {"vif_type": "bridge", "vif_details": {"port_filter": True}, "status": "INACTIVE"}
    assert (status, body) == (201, {"binding": shown})
    assert (await api("admin", "POST", path, {"binding": ready}))[0] == 409
    assert (await api("admin", "POST", path, {"binding": {"host": "h1"}}))[0] == 409
    _, listed = await api("admin", "GET", path)
    assert [(b["host"], b["status"]) for b in listed["bindings"]] == [("h1", "ACTIVE"), ("h2", "INACTIVE")]
    assert (await api("admin", "GET", f"{path}?status=INACTIVE"))[1]["bindings"] == [shown]
    assert (await api("admin", "GET", f"/v2.0/ports/{port}"))[1]["port"]["binding:host_id"] == "h1"

    status, body = await api("admin", "PUT", f"{path}/h2/activate")

    assert (status, body["binding"]["status"], body["binding"]["profile"]) == (200, "ACTIVE", {"migrating_to": "h2"})
    assert (await api("admin", "PUT", f"{path}/h2/activate"))[0] == 409
    assert (await api("admin", "GET", f"/v2.0/ports/{port}"))[1]["port"]["binding:host_id"] == "h2"
    _, old = await api("admin", "GET", f"{path}/h1")
    assert (old["binding"]["status"], old["binding"]["vif_type"]) == ("INACTIVE", "unbound")
    assert (await api("admin", "DELETE", f"{path}/h1"))[0] == 204
    assert [(await api("admin", method, f"{path}/h1"))[0] for method in ("DELETE", "GET")] == [404, 404]
    assert (await api("admin", "DELETE", f"{path}/h2"))[0] == 204
    assert (await api("admin", "GET", f"/v2.0/ports/{port}"))[1]["port"]["binding:host_id"] == ""


async def test_a_ports_first_binding_is_active_at_once_and_its_profile_can_be_changed(api: Api) -> None:
    port = await a_port(api, **{"binding:host_id": ""})
    path = f"/v2.0/ports/{port}/bindings"

    assert (await api("admin", "GET", path))[1] == {"bindings": []}
    assert (await api("admin", "POST", path, {"binding": {"host": "h1"}}))[1]["binding"]["status"] == "ACTIVE"
    assert (await api("admin", "POST", path, {"binding": {"host": "h2"}}))[1]["binding"]["status"] == "INACTIVE"
    for host in ("h1", "h2"):
        _, body = await api("admin", "PUT", f"{path}/{host}", {"binding": {"profile": {"of": host}}})
        assert body["binding"]["profile"] == {"of": host}
    assert (await api("admin", "PUT", f"/v2.0/ports/{port}", {"port": {"binding:host_id": "h2"}}))[0] == 200
    _, listed = await api("admin", "GET", path)
    assert [(b["host"], b["status"]) for b in listed["bindings"]] == [("h2", "ACTIVE")]


async def test_bindings_are_for_services_and_ports_of_servers(api: Api) -> None:
    port, free = await a_port(api), await a_port(api, device_owner="")
    for who, asked, status in (("alice", port, 403), ("looker", port, 403), ("admin", free, 400), ("admin", "f" * 32, 404)):
        assert (await api(who, "GET", f"/v2.0/ports/{asked}/bindings"))[0] == status, who
    path = f"/v2.0/ports/{port}/bindings"
    for body in ({}, {"binding": {}}, {"binding": {"host": "h2", "vnic_type": "direct"}}, {"binding": {"host": "h2", "colour": "red"}}):
        assert (await api("admin", "POST", path, body))[0] == 400, body
    status, body = await api("admin", "PUT", f"{path}/nowhere/activate")
    assert (status, body["NeutronError"]["message"]) == (404, f"Binding for port {port} for host nowhere could not be found.")
    assert (await api("admin", "GET", "/v2.0/extensions/binding-extended"))[0] == 200
