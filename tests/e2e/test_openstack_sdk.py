"""Every method of openstacksdk's compute proxy, called once at least on a cloud of two hosts, and what came of it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from openstack import exceptions
from openstack.compute.v2._proxy import Proxy
from openstack.config import OpenStackConfig
from openstack.connection import Connection

from .running import ADMIN, RunningCloud, running_cloud

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.xdist_group("openstack-sdk"),
    pytest.mark.filterwarnings("ignore::Warning"),  # much of it is deprecated
]
SOON: dict[str, Any] = {"interval": 0.05, "wait": 30}
CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBcTCCARegAwIBAgIUWqhFNGEtj9tLDHTC/1LwDibOARwwCgYIKoZIzj0EAwIw
DTELMAkGA1UEAwwCbWUwIBcNMjYxMTI5MDM0OTE5WhgPMjEyNjExMDUwMzQ5MTla
MA0xCzAJBgNVBAMMAm1lMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEO9MeuSK0
kTGd8PcksCLIqo3+not5ZPzTe3w4fpmzo6GT2fGCHpXIuYOoJGf6Mzy/HnejSBp5
C3ttUTzbETpNj6NTMFEwHQYDVR0OBBYEFLDv0XFk+8x+oT09U9QOCRH3XoTbMB8G
A1UdIwQYMBaAFLDv0XFk+8x+oT09U9QOCRH3XoTbMA8GA1UdEwEB/wQFMAMBAf8w
CgYIKoZIzj0EAwIDSAAwRQIhAPB7Eh5qAnA6KtsIF7EHqalqz8oW9SZYiJYPCpby
KrPIAiAm7PzC3tL3sFR6/u4lOsdt5cPbTvtUljwQyXm7WL4J8g==
-----END CERTIFICATE-----
"""
FINGERPRINT = "86:90:26:35:21:a4:6f:89:26:1e:e8:96:91:57:8e:ab:42:de:a5:ea"  # openssl x509 -fingerprint -sha1


class Compute:
    """The proxy; it remembers which of its methods were called."""

    def __init__(self, connection: Connection) -> None:
        self.connection, self.called = connection, set[str]()

    def __getattr__(self, name: str) -> Any:
        self.called.add(name)
        return getattr(self.connection.compute, name)

    def reaches(self, server: Any, status: str) -> bool:
        """Wait for the status, and until nothing is being done with the server."""
        self.wait_for_status(self.get_server(server.id), status, failures=[], **SOON)
        while self.get_server(server.id).task_state:
            pass
        return bool(self.get_server(server.id).status == status)


@pytest.fixture(scope="module")
def cloud() -> Iterator[RunningCloud]:
    options = {"FAKE_SECONDS": '{"live_migrate": 600}', "COMPUTE_HOST": "host", "COMPUTE_RECLAIM_INSTANCE_SECONDS": "3600"}
    with running_cloud(hosts=2, **{f"NOVA_ASYNC_{name}": value for name, value in options.items()}) as made:
        yield made
        made.is_consistent()
        made.has_a_clean_log()


@pytest.fixture(scope="module")
def compute(cloud: RunningCloud) -> Iterator[Compute]:
    """It takes for each thing the newest version that both know."""
    with connection(cloud) as made:
        yield Compute(made)


@pytest.fixture(scope="module")
def old(cloud: RunningCloud) -> Iterator[Compute]:
    """For what the proxy still has and later versions have not."""
    with connection(cloud, compute_default_microversion="2.5") as made:
        yield Compute(made)


def connection(cloud: RunningCloud, **options: str) -> Connection:
    files = {"config_files": [str(cloud.state / "clouds.yaml")], "secure_files": [], "vendor_files": []}
    return Connection(config=OpenStackConfig(**files, load_envvars=False).get_one(cloud=ADMIN, **options))


def test_flavors(compute: Compute) -> None:
    flavor = compute.create_flavor(name="small", ram=256, vcpus=1, disk=1, is_public=False)
    compute.update_flavor(flavor, description="words")
    compute.create_flavor_extra_specs(flavor, {"hw:cpu_policy": "shared", "a": "b"})
    compute.update_flavor_extra_specs_property(flavor, "a", "c")
    assert compute.get_flavor_extra_specs_property(flavor, "a") == "c"
    compute.delete_flavor_extra_specs_property(flavor, "a")
    assert compute.fetch_flavor_extra_specs(flavor).extra_specs == {"hw:cpu_policy": "shared"}
    assert (compute.get_flavor(flavor.id).description, compute.find_flavor("small").id) == ("words", flavor.id)
    project = compute.connection.current_project_id
    compute.flavor_add_tenant_access(flavor, project)
    assert [row["tenant_id"] for row in compute.get_flavor_access(flavor)] == [project]
    compute.flavor_remove_tenant_access(flavor, project)
    assert compute.get_flavor_access(flavor) == []
    assert {f.name for f in compute.flavors(is_public=False)} == {"small"}
    compute.delete_flavor(flavor, ignore_missing=False)
    assert compute.find_flavor("small") is None


def test_aggregates_and_zones(compute: Compute) -> None:
    made = compute.create_aggregate(name="fast", availability_zone="east")
    assert compute.add_host_to_aggregate(made, "host-1").hosts == ["host-1"]
    compute.set_aggregate_metadata(made, {"ssd": "true"})
    compute.update_aggregate(made, name="faster")
    shown = compute.get_aggregate(made.id)
    assert (shown.name, shown.metadata, shown.availability_zone) == ("faster", {"ssd": "true", "availability_zone": "east"}, "east")
    assert compute.find_aggregate("faster").id == made.id
    assert {zone.name for zone in compute.availability_zones(details=True)} >= {"east", "nova"}
    compute.aggregate_precache_images(made, [compute.find_image("cirros-fake").id])
    compute.remove_host_from_aggregate(made, "host-1")
    compute.delete_aggregate(made, ignore_missing=False)
    assert list(compute.aggregates()) == []


def test_images_by_way_of_compute(compute: Compute) -> None:
    image = compute.find_image("cirros-fake")
    assert compute.get_image(image.id).status == "ACTIVE"
    mine = compute.connection.image.create_image("mine", data=b"x" * 512, disk_format="raw", container_format="bare")
    assert {i.id for i in compute.images()} == {image.id, mine.id}
    compute.set_image_metadata(mine.id, colour="red", weight="3")
    compute.delete_image_metadata(mine.id, ["weight"])
    assert compute.get_image_metadata(mine.id).metadata["colour"] == "red"
    assert "weight" not in compute.fetch_image_metadata(mine.id).metadata
    compute.delete_image(mine.id, ignore_missing=False)
    assert {i.id for i in compute.images()} == {image.id}


def test_key_pairs_and_groups(compute: Compute) -> None:
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDIi0oYBmSGDAyLNoDgBkAhL0uRbSpsMsqVbFHNJIVAJ"
    made = compute.create_keypair(name="mine", public_key=key)
    assert compute.get_keypair("mine").fingerprint == compute.find_keypair("mine").fingerprint == made.fingerprint
    assert [k.name for k in compute.keypairs()] == ["mine"]
    compute.delete_keypair("mine", ignore_missing=False)
    theirs = compute.create_keypair(name="theirs", type="x509", public_key=CERTIFICATE)
    assert (theirs.type, theirs.fingerprint) == ("x509", FINGERPRINT)
    assert compute.get_keypair("theirs").public_key == CERTIFICATE
    compute.delete_keypair("theirs", ignore_missing=False)
    assert list(compute.keypairs()) == []

    group = compute.create_server_group(name="apart", policy="anti-affinity", rules={"max_server_per_host": 2})
    assert compute.get_server_group(group.id).rules == {"max_server_per_host": 2}
    assert compute.find_server_group("apart").id == group.id
    compute.delete_server_group(group, ignore_missing=False)
    assert list(compute.server_groups(all_projects=True)) == []


def test_hypervisors_and_services(compute: Compute) -> None:
    assert {h.name for h in compute.hypervisors(details=True)} == {"host-1", "host-2"}
    found = compute.find_hypervisor("host-1")
    assert compute.get_hypervisor(found.id).service_details["host"] == "host-1"
    with pytest.raises(exceptions.SDKException, match="not supported anymore"):  # which the proxy says itself
        compute.get_hypervisor_uptime(found.id)
    service = next(s for s in compute.services(binary="nova-compute") if s.host == "host-1")
    assert compute.find_service(service.id).host == "host-1"
    compute.disable_service(service, disabled_reason="mending")
    assert [s.disabled_reason for s in compute.services(host="host-1")] == ["mending"]
    compute.enable_service(service)
    compute.update_service(service, status="disabled")
    compute.update_service(service, status="enabled")
    compute.update_service_forced_down(service, forced=True)
    assert compute.find_service(service.id).state == "down"
    compute.update_service_forced_down(service, forced=False)
    assert compute.find_service(service.id).state == "up"
    conductor = next(iter(compute.services(binary="nova-conductor")))
    compute.delete_service(conductor, ignore_missing=False)
    assert list(compute.services(binary="nova-conductor")) == []


def test_quotas_limits_usage_and_extensions(compute: Compute) -> None:
    project = compute.connection.current_project_id
    compute.update_quota_class_set("default", instances=12)
    assert compute.get_quota_class_set().instances == compute.get_quota_set_defaults(project).instances == 12
    compute.update_quota_set(project, instances=9)
    assert (compute.get_quota_set(project).instances, compute.get_limits().absolute.instances) == (9, 9)
    assert compute.get_quota_set(project, usage=True).usage["instances"] == 0
    compute.revert_quota_set(project)
    assert compute.get_quota_set(project).instances == 12
    assert compute.find_extension("os-migrations").name == "Migrations"
    assert len(list(compute.extensions())) > 50


@pytest.fixture(scope="module")
def server(compute: Compute) -> Any:
    """One that runs, in a network of its own."""
    network = compute.connection.network
    for name, number in (("blue", 33), ("red", 34)):
        made = network.create_network(name=name)
        network.create_subnet(network_id=made.id, ip_version=4, cidr=f"192.168.{number}.0/24", name=name)
    image, flavor = compute.find_image("cirros-fake"), compute.find_flavor("m1.tiny")
    networks = [{"uuid": network.find_network("blue").id}]
    made = compute.create_server(name="one", image_id=image.id, flavor_id=flavor.id, networks=networks)
    return compute.wait_for_server(made, **SOON)


def test_a_server_is_switched(compute: Compute, server: Any) -> None:
    image = compute.find_image("cirros-fake")
    for method, status, *given in (
        ("pause_server", "PAUSED"),
        ("unpause_server", "ACTIVE"),
        ("suspend_server", "SUSPENDED"),
        ("resume_server", "ACTIVE"),
        ("stop_server", "SHUTOFF"),
        ("start_server", "ACTIVE"),
        ("reboot_server", "ACTIVE", "HARD"),
        ("rescue_server", "RESCUE", "secret", image),
        ("unrescue_server", "ACTIVE"),
        ("rebuild_server", "ACTIVE", image),
        ("shelve_server", "SHELVED_OFFLOADED"),
        ("unshelve_server", "ACTIVE"),
        ("reset_server_state", "ERROR", "error"),
        ("reset_server_state", "ACTIVE", "active"),
    ):
        getattr(compute, method)(server, *given)
        assert compute.reaches(server, status), method
    compute.lock_server(server, locked_reason="careful")
    assert compute.find_server("one").is_locked
    compute.unlock_server(server)
    compute.change_server_password(server, "secret")
    assert compute.reaches(server, "ACTIVE")
    assert not compute.get_server_password(server)
    compute.clear_server_password(server)
    compute.trigger_server_crash_dump(server)
    with pytest.raises(exceptions.ConflictException, match="shelveOffload"):
        compute.shelve_offload_server(server)
    actions = list(compute.server_actions(server))
    assert {action.action for action in actions} >= {"create", "pause", "rescue", "shelve", "reboot"}
    assert compute.get_server_action(actions[-1].request_id, server).events[0]["result"] == "Success"


def test_a_server_is_described(compute: Compute, server: Any) -> None:
    compute.update_server(server, name="uno", description="words")
    assert [s.description for s in compute.servers(name="uno", all_projects=True)] == ["words"]
    compute.update_server(server, name="one")
    compute.set_server_metadata(server, a="1", b="2")
    compute.delete_server_metadata(server, ["a"])
    assert compute.get_server_metadata(server).metadata == compute.fetch_server_metadata(server).metadata == {"b": "2"}
    for tag in ("red", "green"):
        compute.add_tag_to_server(server, tag)
    compute.remove_tag_from_server(server, "green")
    assert compute.get_server(server.id).tags == ["red"]
    compute.remove_tags_from_server(server)
    assert compute.get_server(server.id).tags == []
    assert [ip.network_label for ip in compute.server_ips(server)] == ["blue"]
    assert compute.get_server_diagnostics(server).state == "running"
    told = list(compute.create_server_external_events([{"name": "network-changed", "server_uuid": server.id, "tag": "x"}]))
    assert [event.code for event in told] == [200]


def test_interfaces_and_security_groups(compute: Compute, old: Compute, server: Any) -> None:
    network = compute.connection.network
    red = network.find_network("red")
    port = compute.create_server_interface(server, net_id=red.id)
    assert compute.get_server_interface(port.port_id, server).net_id == red.id
    assert len(list(compute.server_interfaces(server))) == 2
    old.add_fixed_ip_to_server(server, red.id)
    assert has_networks(compute, server, blue=1, red=2)
    old.remove_fixed_ip_from_server(server, next(ip.address for ip in compute.server_ips(server, network_label="red")))
    assert has_networks(compute, server, blue=1, red=1)
    compute.delete_server_interface(port.port_id, server, ignore_missing=False)
    assert has_networks(compute, server, blue=1)
    for method in ("add_floating_ip_to_server", "remove_floating_ip_from_server"):
        with pytest.raises(exceptions.NotFoundException, match=r"(?i)floating IP not found"):
            getattr(old, method)(server, "192.0.2.9")

    group = network.create_security_group(name="strict")
    compute.add_security_group_to_server(server, group)
    assert {g["name"] for g in compute.fetch_server_security_groups(server).security_groups} == {"default", "strict"}
    compute.remove_security_group_from_server(server, group)
    assert {g["name"] for g in compute.fetch_server_security_groups(server).security_groups} == {"default"}


def test_consoles_and_images(compute: Compute, old: Compute, server: Any) -> None:
    assert compute.get_server_console_output(server, length=5)["output"]
    opened = compute.create_server_remote_console(server, protocol="serial", type="serial")
    assert compute.validate_console_auth_token(opened.url[-64:]).instance_uuid == server.id
    assert old.get_server_console_url(server, "novnc")["url"].startswith("http://")
    assert compute.create_console(server, "spice-html5")["url"].startswith("http://")
    image = compute.create_server_image(server, "snap", wait=True)
    assert image.status == "active"
    backup = compute.backup_server(server, "backup", "daily", 1)
    assert compute.reaches(server, "ACTIVE")
    assert {i.name for i in compute.images()} == {"cirros-fake", "snap", "backup"}
    for made in (image, backup):
        compute.delete_image(made.id, ignore_missing=False)


def test_volumes_and_shares(compute: Compute, server: Any) -> None:
    none = "00000000-0000-4000-8000-000000000000"
    volumes = compute.connection.volume
    volume = volumes.wait_for_status(volumes.create_volume(name="data", size=1), "available", interval=0.1, wait=30)
    compute.create_volume_attachment(server, volume)
    volumes.wait_for_status(volume, "in-use", interval=0.1, wait=30)
    compute.update_volume_attachment(server, volume, volume.id, delete_on_termination=True)
    assert compute.get_volume_attachment(server, volume).delete_on_termination is True
    assert [attached.volume_id for attached in compute.volume_attachments(server)] == [volume.id]
    compute.delete_volume_attachment(server, volume, ignore_missing=False)
    volumes.wait_for_status(volume, "available", interval=0.1, wait=30)
    assert list(compute.volume_attachments(server)) == []
    volumes.delete_volume(volume, ignore_missing=False)
    assert list(compute.share_attachments(server)) == []
    for method in ("create_volume_attachment", "get_volume_attachment", "update_volume_attachment"):
        with pytest.raises(exceptions.NotFoundException, match=none):
            getattr(compute, method)(server, none, **{"volume_id": none} if method.startswith("update") else {})
    with pytest.raises(exceptions.NotFoundException, match=none):
        compute.delete_volume_attachment(server, none, ignore_missing=False)
    with pytest.raises(exceptions.NotFoundException, match=none):
        compute.get_share_attachment(server, none)
    for method in ("create_share_attachment", "delete_share_attachment"):
        with pytest.raises(exceptions.ConflictException, match="vm_state active"):
            getattr(compute, method)(server, none)


def test_a_server_moves(compute: Compute, server: Any) -> None:
    for flavor, end in (("m1.nano", compute.confirm_server_resize), ("m1.tiny", compute.revert_server_resize)):
        compute.resize_server(server, compute.find_flavor(flavor).id)
        assert compute.reaches(server, "VERIFY_RESIZE")
        end(server)
        assert compute.reaches(server, "ACTIVE")
    assert compute.get_server(server.id).flavor.name == "m1.nano"
    compute.migrate_server(server)
    assert compute.reaches(server, "VERIFY_RESIZE")
    compute.confirm_server_resize(server)
    assert compute.reaches(server, "ACTIVE")

    here = compute.get_server(server.id).compute_host
    compute.abort_server_migration(live(compute, server).id, server, ignore_missing=False)
    assert compute.reaches(server, "ACTIVE")
    assert compute.get_server(server.id).compute_host == here
    compute.force_complete_server_migration(live(compute, server).id, server)
    assert compute.reaches(server, "ACTIVE")
    there = compute.get_server(server.id).compute_host
    assert there != here
    assert [move.status for move in compute.migrations(migration_type="live-migration")] == ["completed", "cancelled"]

    service = next(s for s in compute.services(binary="nova-compute") if s.host == there)
    compute.force_service_down(service, forced=True)
    compute.evacuate_server(server)
    assert compute.reaches(server, "SHUTOFF")
    assert compute.get_server(server.id).compute_host == here
    compute.update_service_forced_down(service, forced=False)


def test_servers_are_deleted_and_restored(compute: Compute, server: Any) -> None:
    compute.delete_server(server, ignore_missing=False)
    assert compute.reaches(server, "SOFT_DELETED")
    compute.restore_server(server)
    assert compute.reaches(server, "ACTIVE")
    there = compute.get_server(server.id)
    compute.delete_server(there, force=True)
    compute.wait_for_delete(there, interval=0.05, wait=30)
    assert compute.find_server("one") is None
    today = datetime.now(UTC).replace(tzinfo=None) - timedelta(hours=1)
    usage = compute.get_usage(compute.connection.current_project_id, start=today)
    assert [row["name"] for row in usage.server_usages] == ["one"]
    assert [row.project_id for row in compute.usages(start=today)] == [compute.connection.current_project_id]


def test_every_method_was_called(request: pytest.FixtureRequest, compute: Compute, old: Compute) -> None:
    here = [item for item in request.session.items if item.path == request.path]
    if len(here) < len([name for name in globals() if name.startswith("test_")]):
        pytest.skip("only a part of the module runs")
    methods = {name for name, value in vars(Proxy).items() if callable(value) and not name.startswith("_")}
    assert sorted(methods - compute.called - old.called) == []


def has_networks(compute: Compute, server: Any, **wanted: int) -> bool:
    """Whether the server soon has so many addresses in each of these networks, and no others."""

    def found() -> dict[str, int]:
        return {name: len(addresses) for name, addresses in compute.get_server(server.id).addresses.items()}

    return any(found() == wanted for _ in range(200))


def live(compute: Compute, server: Any) -> Any:
    """Begin to move the server while it runs; the migration."""
    compute.live_migrate_server(server)
    for _ in range(200):
        for move in compute.server_migrations(server):
            if move.status == "running":
                return compute.get_server_migration(move.id, server)
    raise AssertionError("no migration is running")
