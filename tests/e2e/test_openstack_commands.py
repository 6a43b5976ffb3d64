"""Every command of ``openstack`` that concerns compute, given once at least to a cloud of two hosts, and what came of it."""

import time
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from .running import ADMIN, OpenStack, RunningCloud, running_cloud

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240), pytest.mark.xdist_group("openstack-commands")]
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDIi0oYBmSGDAyLNoDgBkAhL0uRbSpsMsqVbFHNJIVAJ somebody@somewhere\n"
SLOW = '{"live_migrate": 600}'  # until it is told to end
GROUPS = ("openstack.compute.v2",)
GONE = "410"


class Clients(NamedTuple):
    """Of the administrator: one that takes the newest versions that it knows, and one that is told an old one."""

    new: OpenStack
    old: OpenStack


@pytest.fixture(scope="module")
def cloud() -> Iterator[RunningCloud]:
    options = {"FAKE_SECONDS": SLOW, "COMPUTE_HOST": "host", "COMPUTE_RECLAIM_INSTANCE_SECONDS": "3600"}
    with running_cloud(hosts=2, **{f"NOVA_ASYNC_{name}": value for name, value in options.items()}) as made:
        programs = made.state.parent / "bin"
        programs.mkdir()
        (programs / "ssh").write_text('#!/bin/sh\necho "ssh $*"\n')
        (programs / "ssh").chmod(0o755)
        yield made
        made.is_consistent()
        made.has_a_clean_log()


@pytest.fixture(scope="module")
def clients(cloud: RunningCloud) -> Iterator[Clients]:
    with cloud.openstack(ADMIN, version="") as new, cloud.openstack(ADMIN, version="2.40") as old:
        yield Clients(new, old)


@pytest.fixture(scope="module")
def openstack(clients: Clients) -> OpenStack:
    return clients.new


def test_flavors(openstack: OpenStack) -> None:
    made = openstack.show("flavor create --id 77 --ram 256 --vcpus 2 --disk 3 --property hw:cpu_policy=shared --private small")
    assert (made["ram"], made["vcpus"], made["disk"], made["properties"]) == (256, 2, 3, {"hw:cpu_policy": "shared"})
    openstack("flavor set --property a=b --description words --project admin small")
    shown = openstack.show("flavor show small")
    assert (shown["properties"], shown["description"]) == ({"a": "b", "hw:cpu_policy": "shared"}, "words")
    assert shown["access_project_ids"] == [openstack.show("project show admin")["id"]]
    assert "small" in names(openstack.show("flavor list --all --long"))
    assert names(openstack.show("flavor list --private")) == {"small"}
    openstack("flavor unset --property a --project admin small")
    shown = openstack.show("flavor show small")
    assert (shown["properties"], shown["access_project_ids"]) == ({"hw:cpu_policy": "shared"}, [])
    openstack("flavor delete small")
    openstack("flavor show small", refused="No Flavor found")


def test_key_pairs(openstack: OpenStack, tmp_path: Path) -> None:
    (tmp_path / "key.pub").write_text(KEY)
    assert openstack("keypair create made").startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
    given = openstack.show(f"keypair create --public-key {tmp_path / 'key.pub'} given")
    assert given["fingerprint"] == "4b:a7:7e:32:88:68:72:f8:a7:24:9e:f2:64:7e:44:54"
    assert openstack("keypair show --public-key given") == KEY.strip()
    assert openstack.show("keypair show given")["type"] == "ssh"
    assert names(openstack.show("keypair list --user admin")) == {"made", "given"}
    openstack("keypair delete made given")
    assert openstack.show("keypair list") == []


def test_aggregates(openstack: OpenStack) -> None:
    assert openstack.show("aggregate create --zone east --property ssd=true fast")["availability_zone"] == "east"
    assert openstack.show("aggregate add host fast host-1")["hosts"] == ["host-1"]
    openstack("aggregate set --name faster --property a=b --zone west fast")
    openstack("aggregate unset --property ssd faster")
    shown = openstack.show("aggregate show faster")
    assert (shown["availability_zone"], shown["properties"], shown["hosts"]) == ("west", {"a": "b"}, ["host-1"])
    assert openstack.show("aggregate list --long")[0]["Properties"] == {"a": "b"}
    assert {zone["Zone Name"] for zone in openstack.show("availability zone list --compute")} == {"internal", "nova", "west"}
    openstack("aggregate cache image faster cirros-fake")
    assert openstack.show("aggregate remove host faster host-1")["hosts"] == []
    openstack("aggregate delete faster")
    assert openstack.show("aggregate list") == []


def test_hypervisors_hosts_services_and_agents(clients: Clients) -> None:
    openstack = clients.new
    assert {row["Hypervisor Hostname"] for row in openstack.show("hypervisor list --matching host-")} == {"host-1", "host-2"}
    assert openstack.show("hypervisor show host-1")["state"] == "up"
    assert openstack.show("hypervisor stats show", complains="deprecated")["count"] == 2
    assert {row["Host Name"] for row in openstack.show("host list", complains="deprecated")} > {"host-1", "host-2"}
    assert openstack.show("host show host-1", complains="deprecated")[0]["Project"] == "(total)"
    openstack("host set --disable host-1", complains="deprecated")
    assert services(openstack)["host-1", "nova-compute"] == ("disabled", "up")
    openstack("compute service set --enable host-1 nova-compute")
    openstack("compute service set --down host-1 nova-compute")
    assert services(openstack)["host-1", "nova-compute"] == ("enabled", "down")
    openstack("compute service set --up host-1 nova-compute")
    assert services(openstack)["host-1", "nova-compute"] == ("enabled", "up")

    [conductor] = [row["ID"] for row in openstack.show("compute service list --service nova-conductor")]
    openstack(f"compute service delete {conductor}")
    assert openstack.show("compute service list --service nova-conductor") == []

    openstack("compute agent list", refused=GONE)
    openstack("compute agent create os arch 1 url 0123 fake", refused=GONE)
    openstack("compute agent set --agent-version 2 1", refused=GONE)
    openstack("compute agent delete 1", refused=GONE)


def test_server_groups(openstack: OpenStack) -> None:
    made = openstack.show("server group create --policy anti-affinity --rule max_server_per_host=2 apart")
    assert (made["policy"], made["rules"]) == ("anti-affinity", {"max_server_per_host": 2})
    assert openstack.show("server group show apart")["id"] == made["id"]
    assert names(openstack.show("server group list --all-projects")) == {"apart"}
    openstack("server group delete apart")
    assert openstack.show("server group list --long") == []


def test_quotas_limits_usage_and_extensions(clients: Clients) -> None:
    openstack = clients.new
    openstack("quota set --class --instances 12 default", complains="deprecated")
    assert limits(openstack, "quota show --compute --default")["instances"] == 12
    openstack("quota set --instances 9 --cores 30 admin")
    assert (limits(openstack, "quota show --compute admin")["instances"], limits(openstack, "quota show admin")["cores"]) == (9, 30)
    assert [row["Instances"] for row in openstack.show("quota list --compute")] == [9]
    openstack("quota delete --compute admin")
    assert limits(openstack, "quota show --compute admin")["instances"] == 12
    absolute = {row["Name"]: row["Value"] for row in openstack.show("limits show --absolute")}
    assert (absolute["instances"], absolute["total_cores_used"]) == (12, 0)
    assert openstack.show("limits show --rate") == []
    assert "os-migrations" in {row["Alias"] for row in openstack.show("extension list --compute")}
    openstack.show("usage list")
    assert set(openstack.show("usage show")) == {"Project", "Servers", "RAM MB-Hours", "CPU Hours", "Disk GB-Hours"}


@pytest.fixture(scope="module")
def ground(openstack: OpenStack) -> str:
    """Two networks; how to boot a server in the first."""
    for name, number in (("blue", 33), ("red", 34)):
        openstack.show(f"network create {name}")
        openstack.show(f"subnet create --network {name} --subnet-range 192.168.{number}.0/24 {name}4")
    return "server create --flavor m1.tiny --image cirros-fake --network blue"


def test_a_server_is_made_and_switched(openstack: OpenStack, ground: str) -> None:
    openstack(f"{ground} one")
    assert openstack.reaches("one", "ACTIVE")
    for command, status in (
        ("pause", "PAUSED"),
        ("unpause", "ACTIVE"),
        ("suspend", "SUSPENDED"),
        ("resume", "ACTIVE"),
        ("stop", "SHUTOFF"),
        ("start", "ACTIVE"),
        ("reboot", "ACTIVE"),
        ("reboot --hard", "ACTIVE"),
        ("rescue --image cirros-fake", "RESCUE"),
        ("unrescue", "ACTIVE"),
        ("rebuild --image cirros-fake", "ACTIVE"),
        ("shelve", "SHELVED_OFFLOADED"),
        ("unshelve", "ACTIVE"),
    ):
        openstack(f"server {command} one")
        assert openstack.reaches("one", status), command
    openstack("server lock --reason careful one")
    assert openstack.show("server show one")["locked_reason"] == "careful"
    openstack("server unlock one")
    openstack("server dump create one")
    events = openstack.show("server event list one")
    assert {event["Action"] for event in events} >= {"create", "pause", "rescue", "rebuild", "shelve", "lock", "trigger_crash_dump"}
    created = next(event["Request ID"] for event in events if event["Action"] == "create")
    assert openstack.show(f"server event show one {created}")["action"] == "create"


def test_a_server_is_described(openstack: OpenStack, ground: str) -> None:
    openstack("server set --name uno one")
    openstack("server set --name one --property a=1 --tag red --description words --hostname uno uno")
    shown = openstack.show("server show one")
    assert (shown["properties"], shown["tags"], shown["description"], shown["OS-EXT-SRV-ATTR:hostname"]) == (
        {"a": "1"},
        ["red"],
        "words",
        "uno",
    )
    openstack("server unset --property a --tag red --description one")
    shown = openstack.show("server show one")
    assert (shown["properties"], shown["tags"], shown["description"]) == ({}, [], "")
    openstack("server set --password secret one")
    assert openstack.reaches("one", "ACTIVE")
    openstack("server set --auto-approve --state error one")
    assert openstack.reaches("one", "ERROR")
    openstack("server set --auto-approve --state active one")
    assert openstack.reaches("one", "ACTIVE")
    assert openstack.show("server show --diagnostics one")["state"] == "running"
    [row] = openstack.show("server list --long --name ^one$ --status ACTIVE")
    assert (row["Image Name"], row["Flavor"], row["Host Status"]) == ("cirros-fake", "m1.tiny", "UP")


def test_a_server_is_looked_at(openstack: OpenStack, ground: str) -> None:
    assert openstack("console log show --lines 1 one").endswith("NMI received for unknown reason 30 on CPU 0.")
    for kind in ("novnc", "spice", "serial"):
        url = openstack.show(f"console url show --{kind} one")["url"]
        assert openstack.show(f"console connection show {url[-64:]}")["instance_uuid"]
    assert openstack("server ssh --private one").startswith("ssh 192.168.33.")


def test_interfaces_and_security_groups_come_and_go(clients: Clients, ground: str) -> None:
    openstack = clients.new
    openstack("server add network one red")
    openstack.show("port create --network red p1")
    openstack("server add port one p1")
    assert has_networks(openstack, blue=1, red=2)
    openstack("server remove port one p1")
    openstack("server remove network one red")
    assert has_networks(openstack, blue=1)
    added = openstack.show("server add fixed ip --fixed-ip-address 192.168.34.77 one red")
    assert added["Fixed IPs"][0]["ip_address"] == "192.168.34.77"
    clients.old("server remove fixed ip one 192.168.34.77")  # the client does not know that this ended with 2.43
    assert has_networks(openstack, blue=1, red=0)
    openstack("server remove network one red")

    openstack.show("security group create strict")
    openstack("server add security group one strict")
    assert {"name": "strict"} in openstack.show("server show one")["security_groups"]
    openstack("server remove security group one strict")
    assert {"name": "strict"} not in openstack.show("server show one")["security_groups"]


def test_images_of_a_server(openstack: OpenStack, ground: str) -> None:
    openstack.show("server image create --name snap one")
    assert openstack.reaches("one", "ACTIVE")
    openstack.show("server backup create --name backup --type daily --rotate 1 one")
    assert openstack.reaches("one", "ACTIVE")
    assert {"snap", "backup"} <= {row["Name"] for row in openstack.show("image list --status active")}
    openstack("image delete snap backup")


def test_a_server_moves(openstack: OpenStack, ground: str) -> None:
    for begun, ended in (
        ("server resize --flavor m1.nano", "server resize confirm"),
        ("server resize --flavor m1.tiny", "server resize revert"),
        ("server migrate", "server migration confirm"),
        ("server migrate", "server migration revert"),
    ):
        openstack(f"{begun} one")
        assert openstack.reaches("one", "VERIFY_RESIZE"), begun
        openstack(f"{ended} one")
        assert openstack.reaches("one", "ACTIVE"), ended
    for ended in ("confirm", "revert"):
        openstack("server migrate one")
        assert openstack.reaches("one", "VERIFY_RESIZE")
        openstack(f"server migrate {ended} one", complains="deprecated")
        assert openstack.reaches("one", "ACTIVE")
    assert openstack.show("server show one")["flavor"]["name"] == "m1.nano"
    moves = [(move["Type"], move["Status"]) for move in openstack.show("server migration list --server one")]
    assert moves == [("migration", status) for status in ("reverted", "confirmed") * 2] + [("resize", "reverted"), ("resize", "confirmed")]


def test_a_server_moves_while_it_runs(openstack: OpenStack, ground: str) -> None:
    here = host_of(openstack, "one")
    there = {"host-1": "host-2", "host-2": "host-1"}[here]
    move = live(openstack)
    openstack(
        f"server migration show one {move}", refused="could not be found"
    )  # this version of the client puts the two ids the wrong way round
    openstack(f"server migration abort one {move}")
    assert openstack.reaches("one", "ACTIVE")
    assert host_of(openstack, "one") == here
    openstack(f"server migration force complete one {live(openstack)}")
    assert openstack.reaches("one", "ACTIVE")
    assert host_of(openstack, "one") == there
    moves = openstack.show("server migration list --server one --type live-migration")
    assert [move["Status"] for move in moves] == ["completed", "cancelled"]


def test_a_server_leaves_a_host_that_is_down(openstack: OpenStack, ground: str) -> None:
    here = host_of(openstack, "one")
    openstack("server evacuate one", refused="still in use")
    openstack(f"compute service set --down {here} nova-compute")
    openstack("server evacuate one")
    assert openstack.reaches("one", "SHUTOFF")  # since 2.95 evacuated servers wait to be started
    assert host_of(openstack, "one") != here
    openstack(f"compute service set --up {here} nova-compute")


def test_servers_are_deleted_and_restored(openstack: OpenStack, ground: str) -> None:
    server = openstack.show("server show one")["id"]
    openstack("server delete one")
    assert openstack.reaches(server, "SOFT_DELETED")
    openstack(f"server restore {server}")
    assert openstack.reaches("one", "ACTIVE")
    openstack("server delete --force --wait one")
    openstack("server show one", refused="No Server found")
    assert [row["Project"] for row in openstack.show("usage list")]
    assert {row["name"] for row in openstack.show("usage show")["Servers"]} == {"one"}


def test_volumes_come_and_go(openstack: OpenStack, ground: str) -> None:
    openstack(f"{ground} three")
    assert openstack.reaches("three", "ACTIVE")
    openstack.show("volume create --size 1 data")
    assert has_volume_status(openstack, "available")
    assert openstack.show("server add volume three data")["Device"] == "/dev/vdb"
    assert has_volume_status(openstack, "in-use")
    assert flags(openstack) == [False]
    openstack("server volume set --delete-on-termination three data")
    assert flags(openstack) == [True]
    openstack("server volume update --preserve-on-termination three data")
    assert flags(openstack) == [False]
    openstack("server remove volume three data")
    assert has_volume_status(openstack, "available")
    assert openstack.show("server volume list three") == []
    openstack("server delete --force --wait three")
    openstack("volume delete data")


def test_volumes_are_encrypted_where_their_type_says_so(openstack: OpenStack, ground: str) -> None:
    how = "--encryption-provider luks --encryption-cipher aes-xts-plain64 --encryption-key-size 256 --encryption-control-location front-end"
    openstack(f"{ground} three")
    assert openstack.reaches("three", "ACTIVE")
    assert openstack.show(f"volume type create {how} secret")["encryption"]["provider"] == "luks"
    assert openstack.show("volume type show --encryption-type secret")["encryption"]["key_size"] == 256
    openstack("volume create --size 1 --type secret data")
    assert has_volume_status(openstack, "available")
    assert openstack.show("volume show data")["encrypted"] is True
    openstack("server add volume three data")
    assert has_volume_status(openstack, "in-use")
    openstack("volume type delete secret", refused="existing volumes")
    openstack("server delete --force --wait three")
    assert has_volume_status(openstack, "available")
    openstack("volume delete data")


def test_what_is_not_there_is_refused_by_name(openstack: OpenStack, ground: str) -> None:
    openstack(f"{ground} two")
    assert openstack.reaches("two", "ACTIVE")
    assert openstack.show("server share list two") == []
    for command in ("add share", "remove share", "share show"):
        openstack(f"server {command} two none", refused="shared-file-system")
    for command in ("add floating ip", "remove floating ip"):
        openstack(f"server {command} two 192.0.2.9", refused="No FloatingIP found")
    openstack("server delete --force --wait two")


def test_every_command_was_given(request: pytest.FixtureRequest, clients: Clients) -> None:
    """What this module tells the clients is all that they can be told of compute."""
    here = [item for item in request.session.items if item.path == request.path]
    if len(here) < len([name for name in globals() if name.startswith("test_")]):
        pytest.skip("only a part of the module runs")
    known = {e.name.replace("_", " ") for e in distribution("python-openstackclient").entry_points if e.group in GROUPS}
    told = {name for command in clients.new.told + clients.old.told for name in known if f"{command} ".startswith(f"{name} ")}
    assert sorted(known - told) == []


def has_networks(openstack: OpenStack, **wanted: int) -> bool:
    """Whether the server soon has so many addresses in each of these networks, and no others."""
    for _ in range(50):
        if {name: len(addresses) for name, addresses in openstack.show("server show one")["addresses"].items()} == wanted:
            return True
    return False


def has_volume_status(openstack: OpenStack, status: str) -> bool:
    """Whether it comes to it; making an encrypted one takes seconds, by the design of LUKS."""
    for _ in range(150):
        if openstack.show("volume show data")["status"] == status:
            return True
        time.sleep(0.2)
    return False


def flags(openstack: OpenStack) -> list[bool]:
    """Whether the volumes of the server are deleted with it."""
    return [row["Delete On Termination?"] for row in openstack.show("server volume list three")]


def host_of(openstack: OpenStack, server: str) -> str:
    return str(openstack.show(f"server show {server}")["OS-EXT-SRV-ATTR:host"])


def live(openstack: OpenStack) -> int:
    """Begin to move the server while it runs; the number of the migration."""
    openstack("server migrate --live-migration one")
    for _ in range(100):
        for move in openstack.show("server migration list --server one --type live-migration"):
            if move["Status"] == "running":
                return int(move["Id"])
    raise AssertionError("no migration is running")


def names(rows: list[dict[str, Any]]) -> set[str]:
    return {row["Name"] for row in rows}


def services(openstack: OpenStack) -> dict[tuple[str, str], tuple[str, str]]:
    return {(row["Host"], row["Binary"]): (row["Status"], row["State"]) for row in openstack.show("compute service list")}


def limits(openstack: OpenStack, command: str) -> dict[str, int]:
    return {row["Resource"]: row["Limit"] for row in openstack.show(command)}
