"""What changes a server as a whole: its disk, flavor, host, image, networks. Begun with which inputs, refused in which words."""

import asyncio
from datetime import UTC, datetime

import msgspec
import pytest

from nova_async.db import instances
from nova_async.errors import Conflict
from nova_async.model.states import LEGAL
from nova_async.services.network.builtin import BuiltinNetworks
from tests.api.conftest import IMAGE, NETWORK, PORTS, QUEUED_IMAGE, SMALL_IMAGE

MISSING = "00000000-0000-4000-8000-000000000000"
BARE = {"unrescue": "member", "confirmResize": "member", "revertResize": "member", "shelveOffload": "admin", "restore": "member"}


async def host(api, name: str, zone: str = "nova", **facts: str) -> None:
    async with api.database.connection() as conn:
        await conn.execute(
            "INSERT INTO hosts (id, name, service_id, availability_zone, facts) VALUES ($1, $2, $3, $4, $5)",
            *(api.parts.world.uuid(), name, api.parts.world.uuid(), zone, facts),
        )


@pytest.mark.parametrize("action", BARE)
async def test_bare_actions_begin_where_they_are_legal(api, action) -> None:
    for state in ("active", "stopped", "rescued", "resized", "shelved", "soft-delete", "error"):
        server = await api.server(state=state)
        answer = await api.act(server, action, None, BARE[action])
        if state in LEGAL[action]:
            assert (answer.status, answer.raw) == (204 if action == "confirmResize" else 202, b"")
            assert api.starter.begun[-1] == (action, server, {})
        else:
            assert (answer.status, answer.message) == (409, f"Cannot '{action}' instance {server} while it is in vm_state {state}")
        await api.starter.finish(server, deleted=True)


async def test_what_would_lose_a_virtual_tpms_secrets_is_refused_by_name(api) -> None:
    await api.flavor("tpm")
    told = await api.post("/flavors/tpm/os-extra_specs", {"extra_specs": {"hw:tpm_version": "2.0"}}, "admin")
    assert told.status == 200
    server = await api.server(flavorRef="tpm")
    for action, asked, caller in (
        ("shelve", None, "member"),
        ("rescue", None, "member"),
        ("rebuild", {"imageRef": IMAGE}, "member"),
        ("evacuate", {}, "admin"),
    ):
        answer = await api.act(server, action, asked, caller, "2.90")
        assert (answer.status, answer.message) == (400, f"Operation '{action}' not supported for vTPM-enabled instance ({server}).")
    assert (await api.act(server, "os-stop")).status == 202


async def test_rebuild_says_at_once_what_the_server_shall_be(api) -> None:
    server = await api.server()
    asked = {"imageRef": IMAGE, "name": "new", "description": "d", "metadata": {"a": "b"}, "adminPass": "seekr3t", "hostname": "box"}
    answer = await api.act(server, "rebuild", asked, version="2.90")
    shown = answer.body["server"]
    assert answer.status == 202
    assert answer.headers["Location"].endswith(f"/servers/{server}")
    assert (shown["name"], shown["description"], shown["metadata"], shown["adminPass"]) == ("new", "d", {"a": "b"}, "seekr3t")
    assert shown["OS-EXT-SRV-ATTR:hostname"] == "box"
    assert (shown["key_name"], shown["user_data"]) == (None, None)
    kind, subject, given = api.starter.begun[-1]
    was = given.pop("was")
    assert (kind, subject, given) == ("rebuild", server, {"image_id": IMAGE, "preserve_ephemeral": False})
    assert (was["image_id"], was["display_name"], was["metadata"]) == (IMAGE, "web", {})


@pytest.mark.parametrize(
    ("version", "key", "value", "taken"),
    [
        ("2.18", "description", "d", False),
        ("2.19", "description", "d", True),
        ("2.53", "key_name", None, False),
        ("2.54", "key_name", None, True),
        ("2.56", "user_data", "aGk=", False),
        ("2.57", "user_data", "aGk=", True),
        ("2.56", "personality", [], True),
        ("2.57", "personality", [], False),
        ("2.62", "trusted_image_certificates", None, False),
        ("2.63", "trusted_image_certificates", None, True),
        ("2.89", "hostname", "box", False),
        ("2.90", "hostname", "box.example", False),
        ("2.94", "hostname", "box.example", True),
    ],
)
async def test_rebuild_takes_more_from_version_to_version(api, version, key, value, taken) -> None:
    server = await api.server()
    answer = await api.act(server, "rebuild", {"imageRef": IMAGE, key: value}, version=version)
    assert answer.status == (202 if taken else 400), answer


async def test_rebuild_refuses_images_that_are_missing_unready_or_too_large(api) -> None:
    server = await api.server()
    for image, words in (
        (MISSING, "Cannot find image for rebuild"),
        (QUEUED_IMAGE, f"Image {QUEUED_IMAGE} is not active."),
        (SMALL_IMAGE, "Flavor's memory is too small for requested image."),
    ):
        answer = await api.act(server, "rebuild", {"imageRef": image})
        assert (answer.status, answer.message) == (400, words)
    answer = await api.act(server, "rebuild", {"imageRef": IMAGE, "key_name": "unknown"}, version="2.54")
    assert (answer.status, answer.message) == (400, "Invalid key_name provided.")


async def test_resize_hands_over_the_new_flavor(api) -> None:
    server = await api.server()
    await api.flavor("2", ram=1024, vcpus=2)
    assert (await api.act(server, "resize", {"flavorRef": "2"})).status == 202
    kind, _, given = api.starter.begun[-1]
    assert (kind, given["flavor"]["flavorid"], given["flavor"]["memory_mb"]) == ("resize", "2", 1024)


async def test_resize_is_refused_for_flavors_that_do_not_do(api) -> None:
    server = await api.server()
    await api.flavor("0", disk=0)
    await api.flavor("huge", ram=10**6)
    for flavor, status, words in (
        ("1", 400, "When resizing, instances must change flavor!"),
        ("nope", 400, "Flavor nope could not be found."),
        ("0", 400, "Server disk was unable to be resized because: Resize to zero disk flavor is not allowed."),
        ("huge", 403, "Quota exceeded for ram: Requested 999488, but already used 512 of 51200 ram"),
    ):
        answer = await api.act(server, "resize", {"flavorRef": flavor})
        assert (answer.status, answer.message) == (status, words)
    api.hosts.up.clear()
    assert (await api.act(server, "resize", {"flavorRef": "huge"})).status == 409


async def test_migrate_may_name_a_host_since_2_56(api) -> None:
    server = await api.server()
    await host(api, "host2")
    for name, words in (
        ("host1", "Cannot migrate to the host where the server exists."),
        ("nowhere", "Compute host nowhere could not be found."),
    ):
        answer = await api.act(server, "migrate", {"host": name}, "admin", "2.56")
        assert (answer.status, answer.message) == (400, words)
    assert (await api.act(server, "migrate", {"host": "host2"}, "manager", "2.56")).status == 403
    assert (await api.act(server, "migrate", {"host": "host2"}, "admin", "2.56")).status == 202
    assert api.starter.begun[-1] == ("migrate", server, {"host": "host2"})


@pytest.mark.parametrize(
    ("version", "asked", "given"),
    [
        ("2.1", {"host": "host2", "block_migration": True, "disk_over_commit": False}, (True, True)),
        ("2.25", {"host": "host2", "block_migration": "auto"}, (None, True)),
        ("2.30", {"host": "host2", "block_migration": "auto"}, (None, False)),
        ("2.30", {"host": "host2", "block_migration": False, "force": True}, (False, True)),
        ("2.68", {"host": "host2", "block_migration": "auto"}, (None, False)),
        ("2.68", {"host": "host2", "block_migration": "auto", "force": True}, None),
        ("2.1", {"host": "host2", "block_migration": "auto", "disk_over_commit": False}, None),
    ],
)
async def test_live_migration_in_every_version(api, version, asked, given) -> None:
    server = await api.server()
    await host(api, "host2")
    answer = await api.act(server, "os-migrateLive", asked, "admin", version)
    if given is None:
        assert answer.status == 400
    else:
        assert answer.status == 202
        assert api.starter.begun[-1] == ("live-migration", server, {"host": "host2", "block_migration": given[0], "force": given[1]})


async def test_servers_of_dead_hosts_are_evacuated(api) -> None:
    server = await api.server()
    answer = await api.act(server, "evacuate", {}, "admin", "2.95")
    assert (answer.status, answer.message) == (400, "Compute service of host1 is still in use.")
    api.hosts.up.clear()
    assert (await api.act(server, "evacuate", {"host": "host1"}, "admin", "2.95")).status == 404
    answer = await api.act(server, "evacuate", {}, "admin", "2.95")
    assert (answer.status, answer.raw) == (200, b"")
    assert api.starter.begun[-1] == ("evacuate", server, {"host": None, "force": False, "stay_stopped": True})
    other = await api.server()
    answer = await api.act(other, "evacuate", {"onSharedStorage": False, "adminPass": "pw"}, "admin", "2.13")
    assert answer.body == {"adminPass": "pw"}


async def test_an_image_of_a_server_is_queued_and_then_filled(api) -> None:
    server = await api.server()
    answer = await api.act(server, "createImage", {"name": "snap", "metadata": {"k": "v"}}, version="2.45")
    image = api.images.shelf[answer.body["image_id"]]
    assert (image.name, image.status, image.properties["image_type"], image.properties["k"]) == ("snap", "queued", "snapshot", "v")
    assert image.properties["instance_uuid"] == server
    assert api.starter.begun[-1] == ("createImage", server, {"image_id": image.id})
    older = await api.server()
    answer = await api.act(older, "createImage", {"name": "snap"}, version="2.44")
    assert answer.raw == b""
    assert answer.headers["Location"].rsplit("/", 1)[1] == api.starter.begun[-1][2]["image_id"]


async def test_a_refused_image_leaves_no_record(api) -> None:
    server, known = await api.server(), set(api.images.shelf)
    await api.act(server, "os-stop")
    assert (await api.act(server, "createImage", {"name": "snap"})).status == 409
    assert set(api.images.shelf) == known


async def test_backups_say_how_many_are_kept(api) -> None:
    server = await api.server()
    asked = {"name": "b", "backup_type": "daily", "rotation": "2"}
    assert (await api.act(server, "createBackup", asked, version="2.45")).status == 202
    kind, _, given = api.starter.begun[-1]
    assert (kind, given["rotation"], given["backup_type"]) == ("createBackup", 2, "daily")
    assert api.images.shelf[given["image_id"]].properties["backup_type"] == "daily"


async def test_rescue_answers_a_password(api) -> None:
    server = await api.server()
    assert (await api.act(server, "rescue", {"rescue_image_ref": MISSING})).message == "Can not find requested image"
    answer = await api.act(server, "rescue", {"adminPass": "pw", "rescue_image_ref": IMAGE})
    assert (answer.status, answer.body) == (200, {"adminPass": "pw"})
    assert api.starter.begun[-1] == ("rescue", server, {"image_id": IMAGE})


async def test_shelve_and_back_with_zone_and_host(api) -> None:
    server = await api.server()
    await host(api, "host1", zone="east")
    assert (await api.act(server, "shelve")).status == 202
    assert api.images.shelf[api.starter.begun[-1][2]["image_id"]].name == "web-shelved"
    await api.starter.finish(server, vm_state="shelved")
    answer = await api.act(server, "unshelve", {"availability_zone": "east"}, version="2.77")
    assert (answer.status, "must be SHELVED_OFFLOADED" in answer.message) == (409, True)
    await api.starter.finish(server, vm_state="shelved_offloaded")
    assert (await api.act(server, "unshelve", {"availability_zone": "west"}, version="2.77")).status == 400
    assert (await api.act(server, "unshelve", {"host": "host1"}, version="2.91")).status == 403
    answer = await api.act(server, "unshelve", {"host": "host1", "availability_zone": "east"}, "admin", "2.91")
    assert answer.status == 202
    assert api.starter.begun[-1] == ("unshelve", server, {"availability_zone": "east", "host": "host1"})
    shown = (await api.get(f"/servers/{server}", version="2.96")).body["server"]
    assert shown["pinned_availability_zone"] == "east"


async def test_passwords_need_an_agent_in_the_guest(api) -> None:
    server = await api.server()
    await host(api, "host1", hypervisor_type="QEMU")
    answer = await api.act(server, "changePassword", {"adminPass": "pw"})
    assert (answer.status, answer.message) == (409, "QEMU guest agent is not enabled")
    async with api.database.connection() as conn:
        await conn.execute("UPDATE hosts SET facts = $1", {"hypervisor_type": "fake"})
    assert (await api.act(server, "changePassword", {"adminPass": "pw"})).status == 501
    assert "pw" not in str(api.starter.begun)


async def test_an_operation_that_the_service_does_not_know_is_not_implemented(api, monkeypatch) -> None:
    from nova_async.errors import Unsupported

    async def begin(*args, **given):
        raise Unsupported("This service cannot do 'unrescue' yet.")

    server = await api.server(state="rescued")
    monkeypatch.setattr(api.starter, "begin", begin)
    assert (await api.act(server, "unrescue")).status == 501


async def test_deleted_servers_are_kept_where_they_can_be_restored(api, config) -> None:
    config.compute.reclaim_instance_seconds = 600
    server, building = await api.server(), await api.server(state=None)
    assert (await api.delete(f"/servers/{building}")).status == 204
    assert api.starter.begun[-1] == ("delete", building, {})
    assert (await api.delete(f"/servers/{server}")).status == 204
    assert api.starter.begun[-1] == ("softDelete", server, {})
    await api.starter.finish(server, vm_state="soft-delete")
    assert (await api.get(f"/servers/{server}/os-instance-actions")).body["instanceActions"][0]["action"] == "delete"
    assert (await api.act(server, "forceDelete")).status == 202
    assert api.starter.begun[-1] == ("delete", server, {})


# Networks, with the real service


@pytest.fixture
async def wired(api) -> tuple[str, BuiltinNetworks, dict]:
    """A server with a port in the first network."""
    networks = await BuiltinNetworks.open(api.database, api.parts.config, api.parts.world)
    server = await api.server()
    api.parts.networks = networks
    ctx = await api.parts.tokens.validate("member")
    bound = await networks.bind(
        ctx,
        instance_id=server,
        hostname="web",
        host="host1",
        availability_zone="nova",
        requests=await networks.check(ctx, None, [], 1),
        security_groups=[],
    )
    return server, networks, {"port": bound[0], "ctx": ctx}


async def test_security_groups_come_and_go(api, wired) -> None:
    server, networks, made = wired
    await networks.make(made["ctx"], "security-groups", {"name": "web"})
    assert (await api.act(server, "addSecurityGroup", {"name": "nope"})).status == 404
    assert (await api.act(server, "addSecurityGroup", {"name": "web"})).status == 202
    shown = (await api.get(f"/servers/{server}/os-security-groups")).body["security_groups"]
    assert {group["name"] for group in shown} == {"default", "web"}
    assert {g["name"] for g in (await api.get(f"/servers/{server}")).body["server"]["security_groups"]} == {"default", "web"}
    assert type(api.bus.called[-1][1]).__name__ == "RefreshPorts"
    assert (await api.act(server, "removeSecurityGroup", {"name": "web"})).status == 202
    answer = await api.act(server, "removeSecurityGroup", {"name": "web"})
    assert (answer.status, answer.message) == (404, f"Security group web not associated with the instance {server}")


async def test_addresses_come_and_go(api, wired) -> None:
    server, _, made = wired
    port = made["port"]
    assert (await api.act(server, "addFixedIp", {"networkId": MISSING})).status == 404
    assert (await api.act(server, "addFixedIp", {"networkId": port.network_id})).status == 202
    (addresses,) = (await api.get(f"/servers/{server}")).body["server"]["addresses"].values()
    assert len(addresses) == 2
    gone = addresses[1]["addr"]
    assert (await api.act(server, "removeFixedIp", {"address": gone})).status == 202
    answer = await api.act(server, "removeFixedIp", {"address": gone})
    assert (answer.status, answer.message) == (400, f"Fixed IP not found for address {gone} on instance {server}.")
    assert (await api.act(server, "addFixedIp", {"networkId": port.network_id}, version="2.44")).status == 404


async def test_an_interface_is_answered_when_it_is_there(api) -> None:
    server = await api.server()
    asked = asyncio.create_task(api.post(f"/servers/{server}/os-interface", {"interfaceAttachment": {"net_id": NETWORK}}))
    while api.starter.begun[-1][0] != "attach_interface":
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.1)
    await api.starter.finish(server, ports=[*PORTS, {**PORTS[0], "id": MISSING}])
    answer = await asked
    assert (answer.status, answer.body["interfaceAttachment"]["port_id"]) == (200, MISSING)
    assert api.starter.begun[-1][2]["wish"]["network_id"] == NETWORK
    assert (await api.delete(f"/servers/{server}/os-interface/{MISSING}")).status == 202
    assert api.starter.begun[-1] == ("detach_interface", server, {"port_id": MISSING})


@pytest.mark.parametrize(
    ("asked", "status", "words"),
    [
        ({"net_id": NETWORK, "port_id": MISSING}, 400, "Must not input both network_id and port_id"),
        ({"fixed_ips": [{"ip_address": "10.0.0.9"}]}, 400, "Must input network_id when request IP address"),
        ({"net_id": MISSING}, 404, f"Network {MISSING} could not be found."),
    ],
)
async def test_interfaces_that_cannot_be_had(api, asked, status, words) -> None:
    server = await api.server()
    answer = await api.post(f"/servers/{server}/os-interface", {"interfaceAttachment": asked})
    assert (answer.status, answer.message) == (status, words)


async def test_an_interface_in_one_of_several_networks_that_are_not_named_is_a_bad_request(api, monkeypatch) -> None:
    """As in Nova, where a new server is refused with 409 for it."""

    async def several(*_: object) -> None:
        raise Conflict("Multiple possible networks found, use a Network ID to be more specific.")

    server = await api.server()
    monkeypatch.setattr(api.networks, "check", several)
    answer = await api.post(f"/servers/{server}/os-interface", {"interfaceAttachment": {}})
    assert (answer.status, answer.message) == (400, "Multiple possible networks found, use a Network ID to be more specific.")


# What this cloud has not


async def test_floating_ips_are_refused_clearly(api) -> None:
    server = await api.server()
    assert (await api.act(server, "addFloatingIp", {"address": "172.24.4.3"})).message == "floating IP not found"


async def test_diagnostics_tell_what_is_known(api) -> None:
    server = await api.server()
    await api.settle(server, launched_at=datetime.now(UTC))
    seen = (await api.get(f"/servers/{server}/diagnostics", "admin", "2.48")).body
    assert (seen["state"], seen["num_cpus"], seen["num_nics"], seen["memory_details"]["maximum"]) == ("running", 1, 1, 512)
    assert (await api.get(f"/servers/{server}/diagnostics", "admin", "2.47")).body == {"memory": 524288}
    assert (await api.get(f"/servers/{server}/topology", version="2.78")).body == {"nodes": [], "pagesize_kb": None}


async def test_disk_configuration_of_a_resize_is_shown_at_once(api) -> None:
    await api.flavor("2", ram=1024)
    server = await api.server()
    assert (await api.act(server, "resize", {"flavorRef": "2", "OS-DCF:diskConfig": "AUTO"})).status == 202
    assert (await api.get(f"/servers/{server}")).body["server"]["OS-DCF:diskConfig"] == "AUTO"


async def test_addresses_are_shown_in_their_shortest_form(api) -> None:
    long, short = "0000:0000:0000:0000:0000:babe:220.12.22.2", "::babe:dc0c:1602"
    server = await api.server(accessIPv6=long)
    assert (await api.get(f"/servers/{server}")).body["server"]["accessIPv6"] == short
    assert (await api.put(f"/servers/{server}", {"server": {"accessIPv6": "0::1"}})).body["server"]["accessIPv6"] == "::1"
    assert (await api.act(server, "rebuild", {"imageRef": IMAGE, "accessIPv6": long})).body["server"]["accessIPv6"] == short


async def test_a_rebuilt_server_shows_its_user_data_under_the_name_of_the_request(api) -> None:
    server = await api.server()
    shown = (await api.act(server, "rebuild", {"imageRef": IMAGE, "user_data": "aGk="}, "admin", "2.75")).body["server"]
    assert (shown["user_data"], "OS-EXT-SRV-ATTR:user_data" in shown) == ("aGk=", False)


async def test_a_server_whose_ports_nothing_guards_is_in_no_security_group(api, wired) -> None:
    server, _, made = wired
    assert (await api.get(f"/servers/{server}")).body["server"]["security_groups"] == [{"name": "default"}]
    ports = [{**msgspec.to_builtins(made["port"]), "port_security": guarded} for guarded in (False, True)]
    for shown, groups in ((ports[:1], None), (ports, [{"name": "default"}])):
        async with api.database.connection() as conn:
            await instances.change(conn, server, ports=shown)
        assert (await api.get(f"/servers/{server}")).body["server"].get("security_groups") == groups


async def test_a_server_that_left_its_last_security_group_is_in_none(api, wired) -> None:
    server, _, _ = wired
    assert (await api.get(f"/servers/{server}")).body["server"]["security_groups"] == [{"name": "default"}]
    assert (await api.act(server, "removeSecurityGroup", {"name": "default"})).status == 202
    assert "security_groups" not in (await api.get(f"/servers/{server}")).body["server"]


async def test_a_rebuild_with_another_image_knows_what_the_server_was(api) -> None:
    """SEC-024: its host may refuse the image."""
    server = await api.server()
    async with api.database.connection() as conn:
        await conn.execute("UPDATE instances SET image_id = $1, kernel_id = 'k' WHERE uuid = $2", MISSING, server)
    asked = {"imageRef": IMAGE, "name": "other", "metadata": {"new": "1"}, "key_name": None}
    assert (await api.act(server, "rebuild", asked, version="2.54")).status == 202
    was = api.starter.begun[-1][2]["was"]
    assert (str(was["image_id"]), was["kernel_id"]) == (MISSING, "k")
    assert (was["display_name"], was["metadata"], was["key_name"]) == ("web", {}, None)
    of_image = {"image_id", "image_properties", "kernel_id", "ramdisk_id", "system_metadata"}
    assert was.keys() == of_image | {"display_name", "metadata", "key_name", "key_data"}
