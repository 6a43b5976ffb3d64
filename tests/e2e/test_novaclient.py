"""Every method of every manager of python-novaclient, called once at least on a cloud of two hosts, and what came of it."""

import subprocess
import urllib.request
from base64 import b64decode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from keystoneauth1 import loading, session
from novaclient import API_MAX_VERSION, base, exceptions
from novaclient import client as novaclient

from .running import ADMIN, RunningCloud, running_cloud

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240), pytest.mark.xdist_group("novaclient")]
NONE = "00000000-0000-4000-8000-000000000000"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDIi0oYBmSGDAyLNoDgBkAhL0uRbSpsMsqVbFHNJIVAJ"
OLD = "2.35"  # for what the client still has and later versions have not
LOOKS = 300
GENERAL = (base.Manager, base.ManagerWithFind, base.BootingManagerWithFind, object)
called: set[str] = set()


class Managers:
    """A client; what is called of its managers is remembered, as ``servers.pause``."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def __getattr__(self, manager: str) -> "Manager":
        return Manager(manager, getattr(self.client, manager))

    def reaches(self, server: Any, status: str) -> bool:
        """Whether the server soon has this status, and nothing is being done with it."""
        for _ in range(LOOKS):
            found = self.client.servers.get(server)
            if (found.status, getattr(found, "OS-EXT-STS:task_state")) == (status, None):
                return True
        return False


class Manager:
    def __init__(self, name: str, manager: Any) -> None:
        self.name, self.manager = name, manager

    def __getattr__(self, method: str) -> Any:
        called.add(f"{self.name}.{method}")
        return getattr(self.manager, method)


@pytest.fixture(scope="module")
def cloud() -> Iterator[RunningCloud]:
    options = {"FAKE_SECONDS": '{"live_migrate": 600}', "COMPUTE_HOST": "host", "COMPUTE_RECLAIM_INSTANCE_SECONDS": "3600"}
    with running_cloud(hosts=2, **{f"NOVA_ASYNC_{name}": value for name, value in options.items()}) as made:
        yield made
        made.is_consistent()
        made.has_a_clean_log()


@pytest.fixture(scope="module")
def logged_in(cloud: RunningCloud) -> session.Session:
    auth = cloud.clouds()[ADMIN]["auth"]
    return session.Session(loading.get_plugin_loader("password").load_from_options(**auth))


@pytest.fixture(scope="module")
def nova(logged_in: session.Session) -> Managers:
    """It speaks the newest version that it knows."""
    return Managers(novaclient.Client(API_MAX_VERSION.get_string(), session=logged_in))


@pytest.fixture(scope="module")
def old(logged_in: session.Session) -> Managers:
    return Managers(novaclient.Client(OLD, session=logged_in))


def test_flavors(nova: Managers) -> None:
    flavor = nova.flavors.create("small", 256, 1, 1, is_public=False, description="words")
    nova.flavors.update(flavor, description="other")
    flavor.set_keys({"hw:cpu_policy": "shared", "a": "b"})
    flavor.unset_keys(["a"])
    assert (nova.flavors.get(flavor.id).description, flavor.get_keys()) == ("other", {"hw:cpu_policy": "shared"})
    project = nova.client.client.session.get_project_id()
    nova.flavor_access.add_tenant_access(flavor, project)
    assert [access.tenant_id for access in nova.flavor_access.list(flavor=flavor)] == [project]
    nova.flavor_access.remove_tenant_access(flavor, project)
    assert [f.name for f in nova.flavors.list(is_public=False)] == ["small"]
    nova.flavors.delete(flavor)
    assert nova.flavors.list(is_public=False) == []


def test_aggregates_zones_and_groups(nova: Managers) -> None:
    made = nova.aggregates.create("fast", "east")
    nova.aggregates.add_host(made, "host-1")
    nova.aggregates.set_metadata(made, {"ssd": "true"})
    nova.aggregates.update(made, {"name": "faster"})
    nova.aggregates.cache_images(made, [nova.glance.find_image("cirros-fake")])
    shown = nova.aggregates.get_details(made)
    assert (shown.name, shown.hosts, shown.metadata["ssd"]) == ("faster", ["host-1"], "true")
    assert {zone.zoneName for zone in nova.availability_zones.list()} >= {"east", "nova"}
    nova.aggregates.remove_host(made, "host-1")
    assert nova.aggregates.get(made).hosts == []
    nova.aggregates.delete(made)
    assert nova.aggregates.list() == []

    group = nova.server_groups.create("apart", "anti-affinity", {"max_server_per_host": 2})
    assert nova.server_groups.get(group.id).rules == {"max_server_per_host": 2}
    nova.server_groups.delete(group.id)
    assert nova.server_groups.list(all_projects=True) == []


def test_key_pairs(nova: Managers) -> None:
    nova.keypairs.create("mine", KEY)
    assert nova.keypairs.get("mine").public_key == KEY
    assert [key.name for key in nova.keypairs.list()] == ["mine"]
    nova.keypairs.delete("mine")
    assert nova.keypairs.list() == []


def test_x509_key_pairs(nova: Managers, old: Managers, cloud: RunningCloud, tmp_path: Path) -> None:
    """Made before 2.92 and signed by the cloud's root, which is had at its address; imported since."""
    made = old.keypairs.create("made", key_type="x509")
    (tmp_path / "made.pem").write_text(made.public_key)
    (tmp_path / "made.p12").write_bytes(b64decode(made.private_key))
    assert (old.keypairs.get("made").type, made.fingerprint) == ("x509", sha1_of(tmp_path / "made.pem"))
    openssl("pkcs12", "-in", f"{tmp_path}/made.p12", "-passin", "pass:", "-nokeys", "-cacerts", "-out", f"{tmp_path}/above.pem")
    with urllib.request.urlopen(f"{cloud.url}/certs/root.pem", timeout=30) as answer:
        (tmp_path / "root.pem").write_bytes(answer.read())
    openssl("verify", "-x509_strict", "-CAfile", f"{tmp_path}/root.pem", "-untrusted", f"{tmp_path}/above.pem", f"{tmp_path}/made.pem")
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=me", "-keyout", f"{tmp_path}/key", "-out", f"{tmp_path}/own.pem")
    certificate = (tmp_path / "own.pem").read_text()
    given = nova.keypairs.create("given", certificate, key_type="x509")
    assert (given.type, given.public_key, given.fingerprint) == ("x509", certificate, sha1_of(tmp_path / "own.pem"))
    with pytest.raises(exceptions.BadRequest):
        nova.keypairs.create("another", certificate)
    for name in ("made", "given"):
        nova.keypairs.delete(name)


def sha1_of(certificate: Path) -> str:
    """As OpenSSL tells it, in Nova's letters."""
    return openssl("x509", "-in", str(certificate), "-noout", "-fingerprint", "-sha1").partition("=")[2].strip().lower()


def openssl(*words: str) -> str:
    return subprocess.run(["openssl", *words], check=True, capture_output=True, text=True).stdout


def test_hypervisors_services_and_agents(nova: Managers, old: Managers) -> None:
    assert {h.hypervisor_hostname for h in nova.hypervisors.list()} == {"host-1", "host-2"}
    [found] = nova.hypervisors.search("host-1", detailed=True)
    assert nova.hypervisors.get(found.id).service["host"] == "host-1"
    numbered = old.hypervisors.list()[0]
    assert old.hypervisors.uptime(numbered).uptime
    assert old.hypervisors.statistics().count == old.hypervisor_stats.statistics().count == 2

    service = next(s for s in nova.services.list(binary="nova-compute") if s.host == "host-1")
    nova.services.disable(service.id)
    nova.services.disable_log_reason(service.id, "mending")
    assert [s.disabled_reason for s in nova.services.list(host="host-1")] == ["mending"]
    nova.services.enable(service.id)
    nova.services.force_down(service.id, True)
    assert [(s.status, s.state) for s in nova.services.list(host="host-1")] == [("enabled", "down")]
    nova.services.force_down(service.id, False)
    nova.services.delete(nova.services.list(binary="nova-conductor")[0].id)
    assert nova.services.list(binary="nova-conductor") == []

    for method, given in (
        ("list", ()),
        ("create", ("os", "arch", "1", "url", "0123", "fake")),
        ("update", (1, "1", "url", "0123")),
        ("delete", (1,)),
    ):
        with pytest.raises(exceptions.ClientException) as refused:
            getattr(old.agents, method)(*given)
        assert refused.value.code == 410


def test_quotas_limits_and_versions(nova: Managers) -> None:
    project = nova.client.client.session.get_project_id()
    nova.quota_classes.update("default", instances=12)
    assert nova.quota_classes.get("default").instances == nova.quotas.defaults(project).instances == 12
    nova.quotas.update(project, instances=9)
    limits = {limit.name: limit.value for limit in nova.limits.get().absolute}
    assert (nova.quotas.get(project).instances, limits["maxTotalInstances"]) == (9, 9)
    nova.quotas.delete(project)
    assert nova.quotas.get(project, detail=True).instances == {"limit": 12, "in_use": 0, "reserved": 0}
    assert nova.versions.get_current().version == "2.104"
    assert {version.id for version in nova.versions.list()} == {"v2.0", "v2.1"}


@pytest.fixture(scope="module")
def server(nova: Managers, logged_in: session.Session) -> Any:
    """One that runs, in a network of its own; there is another network."""
    for name, number in (("blue", 33), ("red", 34)):
        network = ask(logged_in, "networks", "network", name=name)
        ask(logged_in, "subnets", "subnet", network_id=network, ip_version=4, cidr=f"192.168.{number}.0/24")
    [image] = nova.glance.list()
    assert [found.name for found in nova.glance.find_images([image.id])] == ["cirros-fake"]
    nics = [{"net-id": nova.neutron.find_network("blue").id}]
    made = nova.servers.create("one", image, nova.client.flavors.find(name="m1.tiny"), nics=nics)
    assert nova.reaches(made, "ACTIVE")
    return made


def ask(logged_in: session.Session, collection: str, kind: str, **fields: Any) -> str:
    """Make something of the network service; its id."""
    where = {"service_type": "network", "interface": "public"}
    answer = logged_in.post(f"/v2.0/{collection}", json={kind: fields}, endpoint_filter=where)
    return str(answer.json()[kind]["id"])


def test_a_server_is_switched(nova: Managers, old: Managers, server: Any) -> None:
    image = nova.glance.find_image("cirros-fake")
    for method, status, *given in (
        ("pause", "PAUSED"),
        ("unpause", "ACTIVE"),
        ("suspend", "SUSPENDED"),
        ("resume", "ACTIVE"),
        ("stop", "SHUTOFF"),
        ("start", "ACTIVE"),
        ("reboot", "ACTIVE", "HARD"),
        ("rescue", "RESCUE", "secret", image),
        ("unrescue", "ACTIVE"),
        ("rebuild", "ACTIVE", image),
        ("shelve", "SHELVED_OFFLOADED"),
        ("unshelve", "ACTIVE"),
        ("reset_state", "ERROR", "error"),
        ("reset_state", "ACTIVE", "active"),
    ):
        getattr(nova.servers, method)(server, *given)
        assert nova.reaches(server, status), method
    nova.servers.lock(server, reason="careful")
    assert nova.servers.get(server).locked_reason == "careful"
    nova.servers.unlock(server)
    nova.servers.change_password(server, "secret")
    assert nova.reaches(server, "ACTIVE")
    assert nova.servers.get_password(server) == ""
    nova.servers.clear_password(server)
    nova.servers.trigger_crash_dump(server)
    with pytest.raises(exceptions.Conflict, match="shelveOffload"):
        nova.servers.shelve_offload(server)
    actions = nova.instance_action.list(server)
    assert {action.action for action in actions} >= {"create", "pause", "rescue", "shelve", "reboot"}
    assert nova.instance_action.get(server, actions[-1].request_id).events[0]["result"] == "Success"
    with pytest.raises(exceptions.ClientException) as refused:
        old.servers.reset_network(server)
    assert refused.value.code == 410


def test_a_server_is_described(nova: Managers, server: Any) -> None:
    nova.servers.update(server, name="uno", description="words")
    assert [s.description for s in nova.servers.list(search_opts={"name": "uno", "all_tenants": 1})] == ["words"]
    nova.servers.update(server, name="one")
    nova.servers.set_meta(server, {"a": "1"})
    nova.servers.set_meta_item(server, "b", "2")
    assert nova.servers.get_meta(server, "a") == {"meta": {"a": "1"}}
    assert nova.servers.list_meta(server)["metadata"] == {"a": "1", "b": "2"}
    nova.servers.delete_meta(server, ["a"])
    assert nova.servers.get(server).metadata == {"b": "2"}
    nova.servers.set_tags(server, ["red", "green"])
    nova.servers.add_tag(server, "blue")
    nova.servers.delete_tag(server, "green")
    assert nova.servers.tag_list(server) == ["red", "blue"]
    nova.servers.delete_all_tags(server)
    assert nova.servers.tag_list(server) == []
    assert list(nova.servers.ips(server)) == ["blue"]
    assert nova.servers.diagnostics(server)[1]["state"] == "running"
    assert nova.servers.topology(server) == {"nodes": [], "pagesize_kb": None}
    told = nova.server_external_events.create([{"name": "power-update", "server_uuid": server.id, "tag": "POWER_ON"}])
    assert [event["code"] for event in told] == [200]


def test_interfaces_and_security_groups(nova: Managers, logged_in: session.Session, server: Any) -> None:
    red = nova.neutron.find_network("red").id
    port = nova.servers.interface_attach(server, None, red, None)
    assert {interface.net_id for interface in nova.servers.interface_list(server)} > {red}
    nova.servers.interface_detach(server, port.port_id)
    assert any(len(nova.servers.interface_list(server)) == 1 for _ in range(LOOKS))
    ask(logged_in, "security-groups", "security_group", name="strict")
    nova.servers.add_security_group(server, "strict")
    assert {group.name for group in nova.servers.list_security_group(server)} == {"default", "strict"}
    nova.servers.remove_security_group(server, "strict")
    assert {group.name for group in nova.servers.list_security_group(server)} == {"default"}


def test_consoles_and_images(nova: Managers, old: Managers, server: Any) -> None:
    assert nova.servers.get_console_output(server, length=5)
    assert nova.servers.get_vnc_console(server, "novnc")["remote_console"]["url"].startswith("http://")
    assert nova.servers.get_spice_console(server, "spice-html5")["remote_console"]["url"].startswith("http://")
    assert nova.servers.get_serial_console(server, "serial")["remote_console"]["url"].startswith("ws://")
    assert nova.servers.get_console_url(server, "novnc")["remote_console"]["type"] == "novnc"
    for refused in (nova.servers.get_mks_console, lambda s: old.servers.get_rdp_console(s, "rdp-html5")):
        with pytest.raises(exceptions.BadRequest):
            refused(server)
    image = nova.servers.create_image(server, "snap")
    assert nova.reaches(server, "ACTIVE")
    assert nova.glance.find_image(image).name == "snap"
    nova.servers.backup(server, "backup", "daily", 1)
    assert nova.reaches(server, "ACTIVE")
    assert {image.name for image in nova.glance.list()} == {"cirros-fake", "snap", "backup"}


def test_volumes(nova: Managers, server: Any) -> None:
    assert nova.volumes.get_server_volumes(server.id) == []
    for method, given in (
        ("create_server_volume", (NONE,)),
        ("get_server_volume", (NONE,)),
        ("update_server_volume", (NONE, NONE)),
        ("delete_server_volume", (NONE,)),
    ):
        with pytest.raises(exceptions.NotFound):
            getattr(nova.volumes, method)(server.id, *given)
    made = {"snapshot_id": NONE, "type": "qcow2", "new_file": "x"}
    for refused in (
        lambda: nova.assisted_volume_snapshots.create(NONE, made),
        lambda: nova.assisted_volume_snapshots.delete(NONE, {"volume_id": NONE}),
    ):
        with pytest.raises((exceptions.BadRequest, exceptions.NotFound)):
            refused()


def test_a_server_moves(nova: Managers, server: Any) -> None:
    flavors = nova.client.flavors
    for flavor, end in (("m1.nano", nova.servers.confirm_resize), ("m1.tiny", nova.servers.revert_resize)):
        nova.servers.resize(server, flavors.find(name=flavor))
        assert nova.reaches(server, "VERIFY_RESIZE")
        end(server)
        assert nova.reaches(server, "ACTIVE")
    nova.servers.migrate(server)
    assert nova.reaches(server, "VERIFY_RESIZE")
    nova.servers.confirm_resize(server)
    assert nova.reaches(server, "ACTIVE")

    here = host_of(nova, server)
    nova.server_migrations.live_migration_abort(server, live(nova, server))
    assert nova.reaches(server, "ACTIVE")
    assert host_of(nova, server) == here
    nova.server_migrations.live_migrate_force_complete(server, live(nova, server))
    assert nova.reaches(server, "ACTIVE")
    there = host_of(nova, server)
    assert there != here
    assert [move.status for move in nova.migrations.list(migration_type="live-migration")] == ["completed", "cancelled"]

    service = next(s for s in nova.services.list(binary="nova-compute") if s.host == there)
    nova.services.force_down(service.id, True)
    nova.servers.evacuate(server)
    assert nova.reaches(server, "SHUTOFF")
    assert host_of(nova, server) == here
    nova.services.force_down(service.id, False)


def test_servers_are_deleted_and_restored(nova: Managers, server: Any) -> None:
    nova.servers.delete(server)
    assert nova.reaches(server, "SOFT_DELETED")
    nova.servers.restore(server)
    assert nova.reaches(server, "ACTIVE")
    nova.servers.force_delete(server)
    assert any(nova.servers.list() == [] for _ in range(LOOKS))
    now = datetime.now(UTC).replace(tzinfo=None)
    project = nova.client.client.session.get_project_id()
    assert [row["name"] for row in nova.usage.get(project, now - timedelta(hours=1), now).server_usages] == ["one"]
    assert [row.tenant_id for row in nova.usage.list(now - timedelta(hours=1), now)] == [project]
    assert nova.instance_usage_audit_log.get().num_hosts == 2


def test_every_method_was_called(request: pytest.FixtureRequest, nova: Managers) -> None:
    here = [item for item in request.session.items if item.path == request.path]
    if len(here) < len([name for name in globals() if name.startswith("test_")]):
        pytest.skip("only a part of the module runs")
    managers = {name: type(value) for name, value in vars(nova.client).items() if type(value).__name__.endswith("Manager")}
    known = {f"{name}.{method}" for name, kind in managers.items() for method in methods(kind)}
    assert known - called == {"servers.transform_userdata"}  # which asks for nothing


def methods(kind: type) -> set[str]:
    own = [base for base in kind.__mro__ if base not in GENERAL]
    return {name for base in own for name, value in vars(base).items() if callable(value) and not name.startswith("_")} - {"resource_class"}


def host_of(nova: Managers, server: Any) -> str:
    return str(getattr(nova.servers.get(server), "OS-EXT-SRV-ATTR:host"))


def live(nova: Managers, server: Any) -> Any:
    """Begin to move the server while it runs; the migration."""
    nova.servers.live_migrate(server, None, "auto")
    for _ in range(LOOKS):
        for move in nova.server_migrations.list(server):
            if move.status == "running":
                return nova.server_migrations.get(server, move.id)
    raise AssertionError("no migration is running")
