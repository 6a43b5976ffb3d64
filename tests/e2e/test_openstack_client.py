"""The real ``openstack`` command against a running cloud, told what its users tell it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from nova_async.services.image.blank import blank_qcow2

from .running import ADMIN, RunningCloud, running_cloud

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cloud() -> Iterator[RunningCloud]:
    with running_cloud(hosts=3) as made:
        yield made
        made.is_consistent()
        made.has_a_clean_log()


def test_a_user_boots_a_server_from_an_image_of_their_own_and_does_everything_to_it(cloud: RunningCloud, tmp_path: Path) -> None:
    image, key = tmp_path / "disk.qcow2", tmp_path / "key.pub"
    image.write_bytes(blank_qcow2(1))
    key.write_text("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDIi0oYBmSGDAyLNoDgBkAhL0uRbSpsMsqVbFHNJIVAJ somebody@somewhere\n")
    with cloud.openstack(ADMIN, version="2.74") as admin:  # the client still says "reserved" when it asks for limits, refused since 2.75
        flavor = admin.show("flavor create --id 77 --ram 256 --vcpus 2 --disk 3 --property hw:cpu_policy=shared e2e.small")
        assert (flavor["ram"], flavor["vcpus"], flavor["disk"]) == (256, 2, 3)
        limits = {row["Name"]: row["Value"] for row in admin.show("limits show --absolute")}
        assert (limits["instances"], limits["instances_used"]) == (10, 0), limits
    with cloud.openstack() as openstack:
        openstack.show(f"image create --disk-format qcow2 --container-format bare --file {image} --property hw_rng_model=virtio mine")
        assert openstack.show("image show mine")["status"] == "active"
        assert openstack.show(f"keypair create --public-key {key} mine")["fingerprint"]
        openstack.show("network create blue")
        assert openstack.show("subnet create --network blue --subnet-range 192.168.33.0/28 blue4")["gateway_ip"] == "192.168.33.1"

        options = "--image mine --network blue --key-name mine --property a=1 --use-config-drive --wait"
        server = openstack.show(f"server create --flavor e2e.small {options} one")
        assert (server["status"], server["key_name"], server["config_drive"]) == ("ACTIVE", "mine", "True")
        assert server["properties"] == {"a": "1"}
        assert server["addresses"]["blue"][0].startswith("192.168.33.")
        assert server["adminPass"]
        assert server["flavor"]["name"] == "e2e.small"
        [port] = openstack.show(f"port list --server {server['id']}")
        assert port["Status"] == "ACTIVE"
        assert "one login:" in openstack("console log show one")
        assert len(openstack("console log show --lines 2 one").splitlines()) <= 2

        for command, status in (
            ("server stop", "SHUTOFF"),
            ("server start", "ACTIVE"),
            ("server reboot", "ACTIVE"),
            ("server reboot --hard", "ACTIVE"),
            ("server pause", "PAUSED"),
            ("server unpause", "ACTIVE"),
            ("server suspend", "SUSPENDED"),
            ("server resume", "ACTIVE"),
        ):
            openstack(f"{command} one")
            assert openstack.reaches("one", status), command

        openstack("server lock --reason careful one")
        assert openstack.show("server show one")["locked_reason"] == "careful"
        openstack("server stop one", refused="is locked")
        openstack("server unlock one")
        openstack("server set --name uno --property b=2 --tag red --tag green --description words one")
        openstack("server unset --property a --tag green uno")
        server = openstack.show("server show uno")
        assert (server["properties"], server["tags"], server["description"]) == ({"b": "2"}, ["red"], "words")

        events = openstack.show("server event list uno")
        assert {e["Action"] for e in events} >= {"create", "stop", "start", "reboot", "pause", "unpause", "suspend", "resume", "lock"}
        created = next(e["Request ID"] for e in events if e["Action"] == "create")
        assert {e["result"] for e in openstack.show(f"server event show uno {created}")["events"]} == {"Success"}

        for filters, found in (
            ("--name ^uno$", ["uno"]),
            ("--status ACTIVE", ["uno"]),
            ("--status SHUTOFF", []),
            ("--tags red", ["uno"]),
            ("--not-tags red", []),
            ("--flavor e2e.small", ["uno"]),
            ("--image mine", ["uno"]),
            ("--ip ^192.168.33.", ["uno"]),
            ("--key-name mine", ["uno"]),
            ("--key-name other", []),
            ("--limit 1", ["uno"]),
            ("--locked", []),
        ):
            assert [s["Name"] for s in openstack.show(f"server list {filters}")] == found, filters

        assert len(openstack.show("availability zone list --compute")) == 1
        assert {row["Resource"] for row in openstack.show("quota show --compute")} >= {"instances", "cores", "ram"}
        openstack("server delete --wait uno")
        openstack("server show uno", refused="No Server found")
        assert openstack.show("port list --network blue") == []
        openstack("subnet delete blue4")
        openstack("network delete blue")
        openstack("keypair delete mine")
        openstack("image delete mine")


def test_an_operator_looks_at_hosts_and_takes_one_out_of_service(cloud: RunningCloud) -> None:
    with cloud.openstack(ADMIN) as openstack:
        hypervisors = openstack.show("hypervisor list")
        assert [h["State"] for h in hypervisors] == ["up"] * 3
        host = hypervisors[0]["Hypervisor Hostname"]
        assert {h["Hypervisor Type"] for h in openstack.show("hypervisor list --long")} == {"fake"}
        computes = openstack.show("compute service list --service nova-compute")
        assert [(c["Status"], c["State"]) for c in computes] == [("enabled", "up")] * 3

        openstack(f"compute service set --disable --disable-reason mending {host} nova-compute")
        told = {c["Host"]: c for c in openstack.show("compute service list --service nova-compute --long")}
        assert (told[host]["Status"], told[host]["Disabled Reason"]) == ("disabled", "mending")
        boot = "server create --flavor m1.tiny --image cirros-fake --nic none"
        openstack(f"{boot} --min 4 --max 4 many")
        assert all(openstack.reaches(f"many-{i}", "ACTIVE") for i in (1, 2, 3, 4))
        assert host not in {s["Host"] for s in openstack.show("server list --long")}
        openstack(f"{boot} --host {host} here")  # asked for by name, refused as well
        assert openstack.reaches("here", "ERROR")
        assert "disabled" in openstack.show("server show here")["fault"]["message"]
        openstack("server delete here")
        openstack(f"compute service set --enable {host} nova-compute")
        openstack(f"{boot} --host {host} there")
        assert openstack.reaches("there", "ACTIVE")
        assert openstack.show("server show there")["OS-EXT-SRV-ATTR:host"] == host

        project = openstack.show("project show admin")["id"]
        openstack(f"quota set --instances 5 --cores 100 {project}")
        limits = {row["Resource"]: row["Limit"] for row in openstack.show(f"quota show --compute {project}")}
        assert (limits["instances"], limits["cores"]) == (5, 100)
        openstack(f"{boot} beyond", refused="Quota exceeded for instances")
        openstack(f"server delete --wait {' '.join(s['ID'] for s in openstack.show('server list'))}")
        assert openstack.show("server list --all-projects") == []
