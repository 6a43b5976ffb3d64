"""Servers, from outside: made, seen, changed, deleted. Lists: test_server_lists."""

import asyncio
import base64
import json
from pathlib import Path

import msgspec
import pytest

from nova_async.db import instances, query
from nova_async.services.network import NetworkRequest
from tests.api.conftest import IMAGE, NETWORK, PROJECT, QUEUED_IMAGE, SMALL_IMAGE

SAMPLES = Path(__file__).parents[3] / "shared" / "api" / "samples"
BOUNDARIES = [1, 2, 3, 8, 9, 15, 16, 18, 19, 25, 26, 46, 47, 62, 63, 70, 71, 72, 73, 74, 75, 89, 90, 95, 96, 97, 98, 99, 100, 104]
BODY = {"name": "web", "imageRef": IMAGE, "flavorRef": "1"}


async def refused(api, fields, caller="member", version=None, **beside):
    """The status and message of a create that must fail, and that it left nothing behind."""
    answer = await api.post("/servers", {"server": BODY | fields} | beside, caller, version)
    assert answer.status >= 400, answer
    async with api.database.connection() as conn:
        assert await conn.fetchval("SELECT count(*) FROM instances") == 0
        assert await conn.fetchval("SELECT count(*) FROM workflows") == 0
    return answer.status, answer.message


# Create


async def test_a_server_is_made_with_its_workflow_in_one_go(api) -> None:
    await api.flavor("1")
    made = await api.post("/servers", {"server": BODY})
    assert made.status == 202, made
    server = made.body["server"]
    assert set(server) == {"id", "links", "OS-DCF:diskConfig", "security_groups", "adminPass"}
    assert made.headers["Location"] == server["links"][0]["href"]
    assert api.starter.begun == [("create", server["id"], {})]
    assert len(api.starter.gone) == 1
    seen = (await api.get(f"/servers/{server['id']}")).body["server"]
    assert (seen["status"], seen["OS-EXT-STS:task_state"], seen["OS-EXT-STS:vm_state"]) == ("BUILD", "scheduling", "building")
    assert seen["addresses"] == {}
    assert seen["hostId"] == ""


async def test_everything_in_the_body_arrives_in_the_row(api) -> None:
    await api.flavor("1")
    async with api.database.connection() as conn:
        await conn.execute(
            "INSERT INTO keypairs (user_id, name, type, public_key, fingerprint) VALUES ('member-user', 'k', 'ssh', 'ssh-rsa AAA', 'f')"
        )
    body = BODY | {
        "name": " My web.server_1 ".strip(),
        "networks": [{"uuid": NETWORK, "fixed_ip": "10.0.0.9", "tag": "nic1"}],
        "metadata": {"a": "b"},
        "tags": ["t1", "t2"],
        "description": "text",
        "key_name": "k",
        "user_data": base64.b64encode(b"#!/bin/sh").decode(),
        "config_drive": True,
        "accessIPv4": "1.2.3.4",
        "accessIPv6": "80fe::",
        "OS-DCF:diskConfig": "AUTO",
        "adminPass": "chosen",
        "security_groups": [{"name": "default"}, {"name": "web"}, {"name": "web"}],
    }
    made = await api.post("/servers", {"server": body, "os:scheduler_hints": {"same_host": IMAGE}}, version="2.100")
    assert made.status == 202, made
    assert made.body["server"]["adminPass"] == "chosen"
    assert api.networks.checked == [([NetworkRequest(network_id=NETWORK, fixed_ip="10.0.0.9", tag="nic1")], ["default", "web"], 1)]
    seen = (await api.get(f"/servers/{made.body['server']['id']}", "admin", "2.100")).body["server"]
    expected = {
        "name": "My web.server_1",
        "metadata": {"a": "b"},
        "tags": ["t1", "t2"],
        "description": "text",
        "key_name": "k",
        "config_drive": "True",
        "accessIPv4": "1.2.3.4",
        "accessIPv6": "80fe::",
        "OS-DCF:diskConfig": "AUTO",
        "OS-EXT-SRV-ATTR:user_data": body["user_data"],
        "OS-EXT-SRV-ATTR:hostname": "my-web-server-1",
        "scheduler_hints": {"same_host": [IMAGE]},
        "security_groups": [{"name": "default"}, {"name": "web"}],
        "host_status": "",
        "locked": False,
        "pinned_availability_zone": None,
        "server_groups": [],
        "trusted_image_certificates": None,
    }
    assert {key: seen[key] for key in expected} == expected
    assert seen["flavor"] == {
        "vcpus": 1, "ram": 512, "disk": 1, "ephemeral": 0, "swap": 0, "original_name": "m1.1", "extra_specs": {}
    }  # fmt: skip
    assert seen["image"]["properties"] == {"architecture": "x86_64"}
    async with api.database.connection() as conn:
        row = await conn.fetchrow("SELECT key_data, network_requests, root_device_name FROM instances")
    assert row["key_data"] == {"name": "k", "type": "ssh", "public_key": "ssh-rsa AAA", "fingerprint": "f"}
    card = NetworkRequest(network_id=NETWORK, fixed_ip="10.0.0.9", tag="nic1")
    assert row["network_requests"] == [msgspec.to_builtins(card)]
    assert row["root_device_name"] == "/dev/vda"


async def test_the_password_is_shown_once_and_kept_nowhere(api) -> None:
    await api.flavor("1")
    made = await api.post("/servers", {"server": BODY | {"adminPass": "s3cr3t-canary"}})
    async with api.database.connection() as conn:
        rows = await conn.fetchval("SELECT (SELECT jsonb_agg(i) FROM instances i)::text || (SELECT jsonb_agg(w) FROM workflows w)::text")
    assert made.body["server"]["adminPass"] == "s3cr3t-canary"
    assert "s3cr3t-canary" not in json.dumps(rows)
    wrong = await api.post("/servers", {"server": BODY | {"adminPass": "s3cr3t-canary", "what": 1}})
    assert wrong.status == 400
    assert "s3cr3t-canary" not in wrong.message
    assert "s3cr3t-canary" not in (await api.post("/servers", {"server": {"adminPass": "s3cr3t-canary"}})).message


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"imageRef": "155d900f-0000-0000-0000-069cbf4541e6"}, "Can not find requested image"),
        ({"imageRef": ""}, "Missing imageRef attribute"),
        ({"imageRef": QUEUED_IMAGE}, f"Image {QUEUED_IMAGE} is not active."),
        ({"imageRef": SMALL_IMAGE}, "Flavor's memory is too small for requested image."),
        ({"flavorRef": "none"}, "Flavor none could not be found."),
        ({"key_name": "mine"}, "Invalid key_name provided."),
        ({"availability_zone": "moon"}, "The requested availability zone is not available"),
        ({"min_count": 2, "max_count": 1}, "min_count must be <= max_count"),
        ({"security_groups": [{"name": "nonexistent"}]}, f"Security group nonexistent not found for project {PROJECT}."),
        ({"networks": [{"fixed_ip": "10.0.0.1"}]}, "Bad network format: missing 'uuid'"),
        ({"networks": [{"uuid": "abc"}]}, "Bad networks format: network uuid is not in proper format (abc)"),
        ({"block_device_mapping": [{"volume_id": IMAGE}], "imageRef": ""},
         f"Block Device Mapping is Invalid: failed to get volume {IMAGE}."),
    ],
)  # fmt: skip
async def test_what_cannot_be_made_is_refused_and_leaves_nothing(api, fields, message) -> None:
    await api.flavor("1")
    assert await refused(api, fields) == (400, message)


async def test_flavors_smaller_than_the_image_are_refused(api) -> None:
    await api.flavor("1", ram=8192, disk=10)
    status, message = await refused(api, {"imageRef": SMALL_IMAGE})
    assert status == 400
    assert "Flavor disk is 10737418240 bytes, minimum size is 42949672960 bytes." in message


async def test_flavors_without_disk_need_an_administrator(api) -> None:
    await api.flavor("1", disk=0)
    assert await refused(api, {}) == (403, "Only volume-backed servers are allowed for flavors with zero disk.")
    assert (await api.post("/servers", {"server": BODY}, "admin")).status == 202


@pytest.mark.parametrize(
    ("fields", "version", "message"),
    [
        ({"description": "x"}, "2.18", "Additional properties are not allowed ('description' was unexpected)"),
        ({"tags": ["a"]}, "2.51", "Additional properties are not allowed ('tags' was unexpected)"),
        ({}, "2.37", "'networks' is a required property"),
        ({"networks": "some"}, "2.37", "'some' is not valid under any of the given schemas"),
        ({"networks": "auto", "personality": []}, "2.57", "Additional properties are not allowed ('personality' was unexpected)"),
        ({"networks": "auto", "hostname": "a.b"}, "2.93", "does not match"),
        ({"networks": "auto", "host": "h"}, "2.73", "Additional properties are not allowed ('host' was unexpected)"),
        ({"networks": [{"uuid": NETWORK, "tag": "a"}]}, "2.41", "is not valid under any of the given schemas"),
        ({"networks": [{"uuid": NETWORK, "tag": "a"}]}, "2.31", "Additional properties are not allowed ('tag' was unexpected)"),
    ],
)
async def test_fields_come_and_go_with_the_versions(api, fields, version, message) -> None:
    await api.flavor("1")
    status, text = await refused(api, fields, version=version)
    assert status == 400
    assert message in text


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "'server' is a required property"),
        ({"server": {}}, "Invalid input for field/attribute server. Value: {}. 'name' is a required property"),
        (
            {"server": {"name": "", "flavorRef": "1"}},
            "Invalid input for field/attribute name. Value: ''. An invalid 'name' value was provided.",
        ),
        ({"server": {"name": "a" * 256, "flavorRef": "1"}}, "is too long"),
        ({"server": BODY | {"metadata": {"k": 1}}}, "Invalid input for field/attribute k. Value: 1. 1 is not of type 'string'"),
        ({"server": BODY | {"metadata": {"é": "1"}}}, "'é' does not match any of the regexes: '^[a-zA-Z0-9-_:. ]{1,255}$'"),
        ({"server": BODY | {"min_count": 0}}, "0 is less than the minimum of 1"),
        ({"server": BODY | {"imageRef": "abc"}}, "'abc' is not valid under any of the given schemas"),
        ({"server": BODY | {"accessIPv4": "1.2.3"}}, "'1.2.3' is not a 'ipv4'"),
        ({"server": BODY | {"user_data": "***"}}, "*** is not a 'base64'"),
    ],
)
async def test_wrong_bodies_are_refused_in_novas_words(api, body, message) -> None:
    answer = await api.post("/servers", body)
    assert answer.status == 400
    assert message in answer.message


async def test_networks_none_and_auto(api) -> None:
    await api.flavor("1")
    for word in ("none", "auto"):
        assert (await api.post("/servers", {"server": BODY | {"networks": word}}, version="2.37")).status == 202
    assert (await api.post("/servers", {"server": BODY | {"networks": []}}, version="2.37")).status == 202
    assert [asked for asked, _, _ in api.networks.checked] == [[], None, None]


async def test_an_automatic_network_is_left_to_the_operation_that_makes_the_server(api) -> None:
    """The stand-in cannot make one: the request itself must not ask for it, whatever else it is refused for."""
    api.networks.offered = False
    body = {"server": BODY | {"networks": "auto"}}
    assert (await api.post("/servers", body, version="2.37")).status == 400  # there is no such flavor
    await api.flavor("1")
    made = (await api.post("/servers", body, version="2.37")).body["server"]
    async with api.parts.database.connection() as conn:
        [request] = (await instances.by_ids(conn, [made["id"]]))[made["id"]].network_requests
    assert (request["auto"], request["network_id"]) == (True, None)


async def test_several_servers_are_numbered_and_share_a_reservation(api) -> None:
    await api.flavor("1")
    made = await api.post("/servers", {"server": BODY | {"min_count": 2, "max_count": 3, "return_reservation_id": True}})
    assert set(made.body) == {"reservation_id"}
    listed = (await api.get(f"/servers?reservation_id={made.body['reservation_id']}")).body["servers"]
    assert [s["name"] for s in listed] == ["web-3", "web-2", "web-1"]
    assert len(api.starter.begun) == 3


async def test_forced_and_requested_hosts_are_for_administrators(api) -> None:
    await api.flavor("1")
    async with api.database.connection() as conn:
        await conn.execute("INSERT INTO hosts (id, name, service_id) VALUES (gen_random_uuid(), 'host1', gen_random_uuid())")
    status, message = await refused(api, {"availability_zone": "nova:host1"})
    assert (status, message) == (403, "Policy doesn't allow os_compute_api:servers:create:forced_host to be performed.")
    status, message = await refused(api, {"host": "host1", "networks": "auto"}, version="2.74")
    assert (status, message) == (403, "Policy doesn't allow compute:servers:create:requested_destination to be performed.")
    assert await refused(api, {"availability_zone": "nova:host9"}, "admin") == (400, "Compute host host9 could not be found.")
    assert await refused(api, {"availability_zone": "a:b:c:d"}, "admin") == (
        400, "Invalid input received: Unable to parse availability_zone"
    )  # fmt: skip
    assert (await api.post("/servers", {"server": BODY | {"availability_zone": "nova:host1"}}, "admin")).status == 202
    assert (await api.post("/servers", {"server": BODY | {"host": "host1", "networks": "auto"}}, "admin", "2.74")).status == 202
    assert [given for _, _, given in api.starter.begun] == [
        {"placement": {"forced_host": "host1"}},
        {"placement": {"requested_host": "host1"}},
    ]


async def test_the_clients_image_mapping_means_the_image(api) -> None:
    await api.flavor("1", **{"OS-FLV-EXT-DATA:ephemeral": 5, "swap": 64})
    image = {"uuid": IMAGE, "boot_index": 0, "source_type": "image", "destination_type": "local", "delete_on_termination": True}
    ephemeral = {"source_type": "blank", "destination_type": "local", "boot_index": -1, "volume_size": 5}
    swap = {"source_type": "blank", "destination_type": "local", "boot_index": -1, "guest_format": "swap", "volume_size": 64}
    made = await api.post("/servers", {"server": BODY | {"block_device_mapping_v2": [image, ephemeral, swap]}})
    assert made.status == 202, made
    async with api.database.connection() as conn:
        devices = await conn.fetchval("SELECT block_devices FROM instances")
    assert [(d["kind"], d["size"]) for d in devices] == [("ephemeral", 5), ("swap", 64)]
    larger = ephemeral | {"volume_size": 6}
    answer = await api.post("/servers", {"server": BODY | {"block_device_mapping_v2": [image, larger]}})
    assert answer.status == 400
    assert "larger than the instance type allows" in answer.message


# Repeated requests


async def test_a_request_repeated_with_its_key_finds_the_same_server(api) -> None:
    await api.flavor("1")
    key = {"headers": {"Idempotency-Key": "order 66"}}
    first = await api.post("/servers", {"server": BODY}, **key)
    again = await api.post("/servers", {"server": BODY}, **key)
    assert (first.status, again.status) == (202, 202)
    assert again.headers["Location"] == first.headers["Location"]
    assert "adminPass" not in again.body["server"]
    others = await api.post("/servers", {"server": BODY}, "stranger", **key)
    assert others.body["server"]["id"] != first.body["server"]["id"]
    assert [kind for kind, _, _ in api.starter.begun] == ["create", "create"]
    await api.starter.finish(first.body["server"]["id"], deleted=True)
    assert (await api.post("/servers", {"server": BODY}, **key)).headers["Location"] == first.headers["Location"]


async def test_a_request_repeated_at_the_same_time_makes_one_server(api) -> None:
    await api.flavor("1")
    key = {"headers": {"Idempotency-Key": "k"}}
    answers = await asyncio.gather(*(api.post("/servers", {"server": BODY | {"min_count": 2}}, **key) for _ in range(8)))
    assert {a.status for a in answers} == {202}
    assert len({a.body["server"]["id"] for a in answers}) == 1
    assert len(api.starter.begun) == 2


@pytest.mark.parametrize("key", ["", "x" * 256, "\u00e9"])
async def test_a_key_must_be_short_and_plain(api, key) -> None:
    await api.flavor("1")
    assert (await api.post("/servers", {"server": BODY}, headers={"Idempotency-Key": key})).status == 400


async def test_a_server_costs_few_statements(api) -> None:
    await api.flavor("1")
    await api.post("/servers", {"server": BODY})
    before = query.statements_run
    await api.post("/servers", {"server": BODY})
    assert query.statements_run - before == 2  # beside those of the starter


# Quotas


async def set_limit(api, resource: str, limit: int) -> None:
    async with api.database.connection() as conn:
        await conn.execute("INSERT INTO quotas (project_id, resource, hard_limit) VALUES ($1, $2, $3)", PROJECT, resource, limit)


async def test_the_quota_is_counted_from_what_lives(api) -> None:
    await api.flavor("1")
    await set_limit(api, "instances", 1)
    first = await api.server()
    answer = await api.post("/servers", {"server": BODY})
    assert (answer.status, answer.message) == (
        403, "Quota exceeded for instances: Requested 1, but already used 1 of 1 instances"
    )  # fmt: skip
    async with api.database.connection() as conn:
        await conn.execute("UPDATE instances SET deleted = true WHERE uuid = $1", first)
    assert (await api.post("/servers", {"server": BODY})).status == 202


async def test_cores_and_memory_are_counted_too(api) -> None:
    await api.flavor("1", vcpus=2, ram=1000)
    await set_limit(api, "cores", 3)
    await set_limit(api, "ram", 1500)
    assert (await api.post("/servers", {"server": BODY})).status == 202
    answer = await api.post("/servers", {"server": BODY})
    assert answer.message == "Quota exceeded for cores, ram: Requested 2, 1000, but already used 2, 1000 of 3, 1500 cores, ram"


async def test_as_many_are_made_as_the_quota_leaves_between_min_and_max(api) -> None:
    await api.flavor("1")
    await set_limit(api, "instances", 2)
    made = await api.post("/servers", {"server": BODY | {"min_count": 1, "max_count": 5}})
    assert made.status == 202, made
    assert len((await api.get("/servers")).body["servers"]) == 2


async def test_concurrent_creates_never_pass_the_limit(api) -> None:
    """SEC-060"""
    await api.flavor("1")
    await set_limit(api, "instances", 5)
    answers = await asyncio.gather(*(api.post("/servers", {"server": BODY}) for _ in range(16)))
    assert sorted(a.status for a in answers) == [202] * 5 + [403] * 11


async def test_metadata_and_files_have_limits(api) -> None:
    await api.flavor("1")
    await set_limit(api, "metadata_items", 1)
    await set_limit(api, "injected_files", 0)
    assert await refused(api, {"metadata": {"a": "1", "b": "2"}}) == (403, "Maximum number of metadata items exceeds 1")
    assert await refused(api, {"personality": [{"path": "/a", "contents": ""}]}) == (403, "Personality file limit exceeded")


# Show


async def test_servers_of_other_projects_do_not_exist(api) -> None:
    server = await api.server()
    for answer in (
        await api.get(f"/servers/{server}", "stranger"),
        await api.put(f"/servers/{server}", {"server": {"name": "mine"}}, "stranger"),
        await api.delete(f"/servers/{server}", "stranger"),
        await api.act(server, "os-stop", caller="stranger"),
    ):
        assert answer.body == {"itemNotFound": {"code": 404, "message": f"Instance {server} could not be found."}}
    assert (await api.get("/servers", "stranger")).body == {"servers": []}
    assert (await api.get(f"/servers/{server}", "admin")).status == 200
    for id_ in ("detail2", "%00", "x" * 3000, "0ba0ba0b-a0ba-0ba0-ba0b-a0ba0ba0ba00"):
        assert (await api.get(f"/servers/{id_}")).status == 404


async def test_a_settled_server_shows_its_place_and_addresses(api) -> None:
    server = await api.server()
    seen = (await api.get(f"/{PROJECT}/servers/{server}", "admin", "2.16")).body["server"]
    assert seen["status"] == "ACTIVE"
    assert seen["addresses"] == {
        "private": [{"version": 4, "addr": "10.0.0.5", "OS-EXT-IPS:type": "fixed", "OS-EXT-IPS-MAC:mac_addr": "fa:16:3e:4c:2c:30"}]
    }
    assert (seen["OS-EXT-SRV-ATTR:host"], seen["host_status"]) == ("host1", "UP")
    assert len(seen["hostId"]) == 56
    assert seen["flavor"]["links"][0]["href"].endswith(f"/compute/{PROJECT}/flavors/1")
    assert seen["links"][0]["href"].endswith(f"/compute/v2.1/{PROJECT}/servers/{server}")
    plain = (await api.get(f"/servers/{server}", "member", "2.16")).body["server"]
    assert not {key for key in plain if key.startswith("OS-EXT-SRV-ATTR")} | {"host_status"} & plain.keys()


@pytest.mark.parametrize(
    ("columns", "up", "shown"),
    [
        ({}, True, "UP"),
        ({}, False, "UNKNOWN"),
        ({"disabled": True}, True, "MAINTENANCE"),
        ({"forced_down": True, "disabled": True}, True, "DOWN"),
    ],
)
async def test_the_status_of_the_host(api, columns, up, shown) -> None:
    server = await api.server()
    async with api.database.connection() as conn:
        host = await conn.fetchval(
            "INSERT INTO hosts (id, name, service_id, disabled, forced_down)"
            " VALUES (gen_random_uuid(), 'host1', gen_random_uuid(), $1, $2) RETURNING id",
            columns.get("disabled", False),
            columns.get("forced_down", False),
        )
    await api.starter.finish(server, host_id=host)
    api.hosts.up = {"host1"} if up else set()
    assert (await api.get(f"/servers/{server}", "admin", "2.16")).body["server"]["host_status"] == shown
    assert (await api.get("/servers/detail", "admin", "2.16")).body["servers"][0]["host_status"] == shown


async def test_a_fault_is_shown_while_the_server_is_in_error(api) -> None:
    """SEC-067: its details to administrators alone; others are told the message twice where Nova shows them details."""
    server = await api.server(state=None)
    for code in (500, 409, 404, 400):
        fault = {"code": code, "created": "2026-01-01T00:00:00Z", "message": "No valid host was found.", "details": "inside"}
        await api.starter.finish(server, vm_state="error", fault=fault)
        for_users = {k: v for k, v in fault.items() if k != "details"} | ({} if code == 500 else {"details": fault["message"]})
        assert (await api.get(f"/servers/{server}")).body["server"]["fault"] == for_users
        assert (await api.get(f"/servers/{server}", "admin")).body["server"]["fault"] == fault
    await api.starter.finish(server, vm_state="active")
    assert "fault" not in (await api.get(f"/servers/{server}")).body["server"]


@pytest.mark.parametrize("minor", BOUNDARIES)
async def test_show_has_the_fields_of_its_version(api, minor) -> None:
    server = await api.server()
    seen = (await api.get(f"/servers/{server}", "member", f"2.{minor}")).body["server"]
    detail = (await api.get("/servers/detail", "member", f"2.{minor}")).body["servers"][0]
    for key, since in SINCE.items():
        assert (key in seen) == (minor >= since), key
    assert set(seen) - set(detail) == ({"server_groups"} if minor >= 71 else set())
    assert ("id" in seen["flavor"]) == (minor < 47)
    admin = (await api.get(f"/servers/{server}", "admin", f"2.{minor}")).body["server"]
    assert ("OS-EXT-SRV-ATTR:user_data" in admin) == (minor >= 3)
    assert ("host_status" in admin) == (minor >= 16)


SINCE = {
    "locked": 9,
    "description": 19,
    "tags": 26,
    "trusted_image_certificates": 63,
    "server_groups": 71,
    "locked_reason": 73,
    "OS-EXT-SRV-ATTR:hostname": 90,
    "pinned_availability_zone": 96,
    "scheduler_hints": 100,
}


def samples(name: str) -> list[object]:
    """Not that of 2.69, which shows a server of an unreachable cell."""
    return [
        pytest.param(p, id=p.parent.name)
        for p in sorted(SAMPLES.glob(f"servers/**/{name}"))
        if "get" not in name or p.parent.name != "v2.69"
    ]


def version_of(sample: Path) -> str:
    return "2.1" if sample.parent.name == "servers" else sample.parent.name.removeprefix("v")


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the API's samples are not here")
@pytest.mark.parametrize("sample", samples("server-get-resp.json"))
async def test_show_has_the_keys_of_the_sample(api, sample) -> None:
    server = await api.server()
    expected = json.loads(sample.read_text())["server"]
    caller = "admin" if "OS-EXT-SRV-ATTR:host" in expected else "member"
    seen = (await api.get(f"/servers/{server}", caller, version_of(sample))).body["server"]
    assert set(seen) == set(expected)


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the API's samples are not here")
@pytest.mark.parametrize("sample", samples("server-create-req.json"))
async def test_the_sample_bodies_of_create_are_taken(api, sample) -> None:
    await api.flavor("1", disk=20, ram=2048)
    await api.flavor("6", disk=20, ram=2048)
    async with api.database.connection() as conn:
        await conn.execute(
            "INSERT INTO hosts (id, name, service_id, availability_zone) VALUES (gen_random_uuid(), 'h', gen_random_uuid(), 'us-west')"
        )
        await conn.execute(
            "INSERT INTO keypairs (user_id, name, type, public_key, fingerprint) VALUES ('admin-user', 'new-key', 'ssh', 'ssh-rsa A', 'f')"
        )
    text = (
        sample.read_text()
        .replace("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", IMAGE)
        .replace("%(availability_zone)s", "us-west")
    )
    body = json.loads(text)
    if int(version_of(sample)[2:]) >= 57:  # some samples were never sent anywhere
        body["server"].pop("personality", None)
        body["server"].setdefault("networks", "auto")
    elif int(version_of(sample)[2:]) >= 37:
        body["server"].setdefault("networks", "auto")
    answer = await api.post("/servers", body, "admin", version_of(sample))
    assert answer.status == 202 or answer.message.startswith(
        ("Network ", "Instance group ", "Block Device", "The requested volume type")
    ), answer


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the API's samples are not here")
@pytest.mark.parametrize("sample", samples("server-update-resp.json"))
async def test_update_answers_with_the_keys_of_the_sample(api, sample) -> None:
    server = await api.server()
    expected = json.loads(sample.read_text())["server"]
    caller = "admin" if "OS-EXT-SRV-ATTR:host" in expected else "member"
    seen = (await api.put(f"/servers/{server}", {"server": {"name": "new"}}, caller, version_of(sample))).body["server"]
    assert set(seen) - {"OS-EXT-SRV-ATTR:hostname"} == set(expected) - {"OS-EXT-SRV-ATTR:hostname"}


# Update and delete


async def test_a_server_is_changed(api) -> None:
    server = await api.server()
    body = {"server": {"name": "new", "accessIPv4": "4.3.2.1", "description": None, "OS-DCF:diskConfig": "AUTO", "hostname": "h.example"}}
    changed = (await api.put(f"/servers/{server}", body, version="2.94")).body["server"]
    assert (changed["name"], changed["accessIPv4"], changed["description"]) == ("new", "4.3.2.1", None)
    assert (changed["OS-DCF:diskConfig"], changed["OS-EXT-SRV-ATTR:hostname"]) == ("AUTO", "h.example")
    assert (await api.put(f"/servers/{server}", body, "reader", "2.94")).status == 403


async def test_a_server_is_pinned_to_the_zone_where_it_is(api) -> None:
    server = await api.server()

    async def pin(zone):
        return await api.put(f"/servers/{server}", {"server": {"pinned_availability_zone": zone}}, version="2.104")

    assert (await pin("moon")).message == ("Server can only be pinned to its current availability zone 'nova', but 'moon' was requested.")
    assert (await pin("nova")).body["server"]["pinned_availability_zone"] == "nova"
    assert (await pin("moon")).status == 409
    assert (await pin(None)).body["server"]["pinned_availability_zone"] is None


async def test_delete_is_legal_at_any_time_and_twice(api) -> None:
    server = await api.server(state=None)
    assert (await api.delete(f"/servers/{server}")).status == 204
    assert (await api.delete(f"/servers/{server}")).status == 204
    assert (await api.get(f"/servers/{server}")).body["server"]["OS-EXT-STS:task_state"] == "deleting"
    await api.starter.finish(server, vm_state="deleted", deleted=True)
    assert (await api.delete(f"/servers/{server}")).status == 404
    assert (await api.get("/servers")).body["servers"] == []


@pytest.mark.parametrize("hint", ["different_host", "same_host"])
async def test_hints_name_a_bounded_number_of_servers(api, hint) -> None:
    """SEC-026: and all of them are looked up by one statement (``hosts_of``)."""
    body = {"name": "x", "imageRef": IMAGE, "flavorRef": (await api.flavor("small"))["id"]}
    for count, status in ((1000, 202), (1001, 400), (10_000, 413)):
        ids = [f"00000000-0000-4000-8000-{n:012x}" for n in range(count)]
        answer = await api.post("/servers", {"server": body, "os:scheduler_hints": {hint: ids}})
        assert answer.status == status, count


@pytest.mark.parametrize(
    "outer", [("os:scheduler_hints",), ("OS-SCH-HNT:scheduler_hints",), ("os:scheduler_hints", "OS-SCH-HNT:scheduler_hints")]
)
async def test_hints_are_kept_as_hints_whatever_they_are_called(api, outer) -> None:
    """SEC-025: what the scheduler is told beside them comes with the workflow, where no hint gets to; given twice they are refused."""
    body = {"name": "x", "imageRef": IMAGE, "flavorRef": (await api.flavor("small"))["id"]}
    words = ("forced_host", "requested_host", "placement", "_nova_check_type", "ignored_hosts", "resources", "was", "image_id")
    hints = dict.fromkeys(words, "host1") | {"deep": {"forced_host": ["host1"]}}
    text = json.dumps({"server": body} | dict.fromkeys(outer, hints))
    twice = text[:-1] + f', "{outer[0]}": {json.dumps(hints)}' + "}"
    assert (await api.ask("POST", "/servers", "member", None, twice.encode())).status == 400
    answer = await api.ask("POST", "/servers", "member", None, text.encode())
    assert answer.status == 202, answer
    kind, server, given = api.starter.begun[-1]
    assert (kind, server, len(api.starter.begun)) == ("create", answer.body["server"]["id"], 1)
    assert not given.keys() & set(words)
    async with api.database.connection() as conn:
        row = await conn.fetchrow("SELECT scheduler_hints, system_metadata FROM instances WHERE uuid = $1", server)
    assert row["scheduler_hints"] == hints
    assert "host1" not in repr(row["system_metadata"])


async def test_an_image_needs_a_flavor_with_a_disk(api) -> None:
    """SEC-028."""
    body = {"name": "x", "imageRef": IMAGE, "flavorRef": (await api.flavor("none", disk=0))["id"]}
    answer = await api.post("/servers", {"server": body})
    assert (answer.status, answer.message) == (403, "Only volume-backed servers are allowed for flavors with zero disk.")
    assert (await api.get("/servers")).body["servers"] == []
