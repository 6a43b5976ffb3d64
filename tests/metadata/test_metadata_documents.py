"""The documents a guest reads, in both forms and on the config drive."""

import base64
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nova_async.errors import Invalid, NotFound
from nova_async.metadata.documents import (
    EC2_VERSIONS,
    OPENSTACK_VERSIONS,
    InstanceMetadata,
    config_drive_files,
    ec2,
    openstack,
    random_seed,
)
from nova_async.metadata.instances import vendor_data
from nova_async.model.guests import FixedIp, PortSpec
from nova_async.model.tagged_devices import ROOT, DeviceAddress, TaggedDevice, with_addresses
from nova_async.world import RealWorld

PORT = PortSpec(
    id="0f52b9ae-9a1c-4f12-8c39-7d8b37d8a111",
    network_id="5e3f1c1e-6d7c-4a08-b50b-6dd1b1f6b222",
    mac="fa:16:3e:01:02:03",
    bridge="nab5e3f1c1e6d7",
    device="tap0f52b9ae-9a",
    mtu=1450,
    fixed_ips=(FixedIp(address="10.77.0.9", subnet_id="s", cidr="10.77.0.0/24"),),
    gateway="10.77.0.1",
    dns_servers=("9.9.9.9",),
    tag="nic0",
)
SERVER = InstanceMetadata(
    uuid="8b6e5e2c-94f2-4c9f-8f39-0e8c6f0f3333",
    number=11,
    project_id="alice",
    name="web",
    hostname="web.novalocal",
    reservation_id="r-1",
    availability_zone="nova",
    metadata={"role": "front"},
    user_data=b"#!/bin/sh\necho hi\n",
    keys=({"name": "laptop", "type": "ssh", "data": "ssh-ed25519 AAAA me"},),
    security_groups=("default", "web"),
    flavor_name="m1.small",
    image_id="12345678-94f2-4c9f-8f39-0e8c6f0f3333",
    ports=(PORT,),
    tagged=(
        TaggedDevice(kind="disk", name="v-1", tag="db", serial="v-1"),
        TaggedDevice(kind="disk", name=ROOT, tag="system"),
        TaggedDevice(kind="nic", name="fa:16:3e:01:02:03", tag="nic0"),
    ),
    addresses=(
        DeviceAddress(kind="nic", name="fa:16:3e:01:02:03", bus="pci", address="0000:00:03.0"),
        DeviceAddress(kind="disk", name="v-1", bus="scsi", address="0:0:0:3"),
    ),
    files=(("/etc/motd", base64.b64encode(b"hello").decode()),),
    random_seed=base64.b64encode(b"x" * 512).decode(),
    admin_pass="hidden",
)


def test_a_config_drive_is_told_where_the_devices_are_once_they_are_somewhere() -> None:
    early = config_drive_files(msgspec.structs.replace(SERVER, addresses=()))
    assert with_addresses(early, SERVER.tagged, SERVER.addresses) == config_drive_files(SERVER)


@given(
    st.one_of(
        st.text(st.characters(exclude_categories=("Cs",))),
        st.sampled_from(('","x":"y', "\n", "a\nb=c", "\r\n", "\u2028", "{{x}}", "$(id)")),
    )
)
def test_whatever_users_write_comes_back_and_adds_no_key(written: str) -> None:
    """SEC-055: over the service and on the config drive."""
    everywhere = dict.fromkeys(("name", "availability_zone", "flavor_name"), written)
    file = (f"/etc/{written}", base64.b64encode(written.encode()).decode())
    server = msgspec.structs.replace(
        SERVER,
        **everywhere,
        metadata={"role": written},
        files=(file,),
        admin_pass=written or "x",
        security_groups=("default", written, "web"),
        user_data=written.encode(),
    )
    plain, drive = config_drive_files(SERVER), config_drive_files(server)
    assert drive.keys() == plain.keys()
    for path in plain:
        if path.endswith(".json"):
            assert keys_of(json.loads(drive[path])) == keys_of(json.loads(plain[path])), path
    told = json.loads(drive["openstack/latest/meta_data.json"])
    assert (told["name"], told["meta"], told["files"][0]["path"]) == (written, {"role": written}, f"/etc/{written}")
    assert told["admin_pass"] == (written or "x")
    assert drive["openstack/latest/user_data"] == drive["openstack/content/0000"] == written.encode()
    assert ec2(server, "/latest/meta-data/") == ec2(SERVER, "/latest/meta-data/")
    assert len(ec2(server, "/latest/meta-data/security-groups").decode().splitlines()) <= 3
    assert ec2(server, "/latest/user-data") == written.encode()


def keys_of(value: Any) -> Any:
    """What an object is without its values."""
    if isinstance(value, dict):
        return {key: keys_of(inner) for key, inner in value.items()}
    return [keys_of(inner) for inner in value] if isinstance(value, list) else None


def lines(text: bytes) -> list[str]:
    return text.decode().split("\n")


def test_ec2_lists_its_versions_at_the_root() -> None:
    assert lines(ec2(SERVER, "/")) == lines(ec2(SERVER, "/ec2/")) == [*EC2_VERSIONS, "latest"]


def test_ec2_lists_and_answers_every_key() -> None:
    assert lines(ec2(SERVER, "/latest/")) == ["meta-data/", "user-data"]
    keys = lines(ec2(SERVER, "/latest/meta-data/"))
    assert keys == sorted(keys)
    assert {"public-keys/", "placement/", "block-device-mapping/", "ami-id"} <= set(keys)
    for path, text in {
        "ami-id": "ami-12345678",
        "instance-id": "i-0000000b",
        "hostname": "web.novalocal",
        "local-ipv4": "10.77.0.9",
        "instance-type": "m1.small",
        "security-groups": "default\nweb",
        "public-keys": "0=laptop",
        "public-keys/0": "openssh-key",
        "public-keys/0/openssh-key": "ssh-ed25519 AAAA me",
        "placement/availability-zone": "nova",
        "block-device-mapping/root": "/dev/vda",
    }.items():
        assert ec2(SERVER, f"/latest/meta-data/{path}").decode() == text, path
    assert ec2(SERVER, "/2009-04-04/user-data") == b"#!/bin/sh\necho hi\n"


@pytest.mark.parametrize("path", ["/2030-01-01/", "/latest/meta-data/nothing", "/latest/meta-data/hostname/x", "/latest/nothing", "/ec2/x"])
def test_ec2_does_not_know_other_paths(path: str) -> None:
    with pytest.raises(NotFound):
        ec2(SERVER, path)


def test_ec2_keys_appear_with_their_version() -> None:
    assert "placement/" not in lines(ec2(SERVER, "/2007-12-15/meta-data/"))
    assert "placement/" in lines(ec2(SERVER, "/2008-02-01/meta-data/"))
    assert "public-ipv4" not in lines(ec2(SERVER, "/1.0/meta-data/"))


def test_openstack_lists_versions_and_the_documents_of_each() -> None:
    assert lines(openstack(SERVER, "/openstack")) == [*OPENSTACK_VERSIONS, "latest"]
    assert set(lines(openstack(SERVER, "/openstack/2012-08-10"))) == {"meta_data.json", "user_data"}
    assert set(lines(openstack(SERVER, "/openstack/latest"))) == {
        *("meta_data.json", "user_data", "password", "vendor_data.json", "network_data.json", "vendor_data2.json")
    }


def test_meta_data_grows_with_its_version_and_never_tells_the_password_over_http() -> None:
    newest = json.loads(openstack(SERVER, "/openstack/latest/meta_data.json"))
    oldest = json.loads(openstack(SERVER, "/openstack/2012-08-10/meta_data.json"))

    assert newest["uuid"] == SERVER.uuid
    assert newest["meta"] == {"role": "front"}
    assert newest["public_keys"] == {"laptop": "ssh-ed25519 AAAA me"}
    assert newest["devices"] == [
        {"type": "disk", "serial": "v-1", "bus": "scsi", "address": "0:0:0:3", "tags": ["db"]},
        {"type": "disk", "serial": None, "bus": "none", "address": "none", "tags": ["system"]},
        {"type": "nic", "mac": PORT.mac, "vf_trusted": False, "bus": "pci", "address": "0000:00:03.0", "tags": ["nic0"]},
    ]
    assert "vf_trusted" not in json.loads(openstack(SERVER, "/openstack/2017-02-22/meta_data.json"))["devices"][2]
    assert len(base64.b64decode(newest["random_seed"])) == 512
    assert newest["files"] == [{"content_path": "/content/0000", "path": "/etc/motd"}]
    assert set(newest) - set(oldest) == {"random_seed", "project_id", "devices", "dedicated_cpus"}
    assert "admin_pass" not in newest
    assert openstack(SERVER, "/openstack/content/0000") == b"hello"


def test_network_data_describes_links_networks_and_dns() -> None:
    data = json.loads(openstack(SERVER, "/openstack/latest/network_data.json"))
    assert data["links"] == [
        {"id": "tap0f52b9ae-9a", "vif_id": PORT.id, "type": "bridge", "mtu": 1450, "ethernet_mac_address": "fa:16:3e:01:02:03"}
    ]
    assert data["networks"][0]["type"] == "ipv4_dhcp"
    assert data["services"] == [{"type": "dns", "address": "9.9.9.9"}]


def test_network_data_says_how_an_ipv6_address_is_to_be_had() -> None:
    six = FixedIp(address="fd77::9", subnet_id="t", cidr="fd77::/64", version=6, ra_mode="slaac", address_mode="slaac")
    ports = (msgspec.structs.replace(PORT, fixed_ips=(*PORT.fixed_ips, six), dns_servers=("9.9.9.9", "fd77::53")),)
    server = msgspec.structs.replace(SERVER, ports=ports)

    network = json.loads(openstack(server, "/openstack/latest/network_data.json"))["networks"][1]

    assert (network["type"], network["ip_address"], network["netmask"]) == ("ipv6_slaac", "fd77::9", "ffff:ffff:ffff:ffff::")
    assert network["services"] == [{"type": "dns", "address": "fd77::53"}]


def test_vendor_data_is_what_the_operators_file_says(tmp_path: Path) -> None:
    file = tmp_path / "vendor.json"
    file.write_text('{"motd": "welcome"}')

    server = msgspec.structs.replace(SERVER, vendor_data=vendor_data(str(file)))

    assert json.loads(openstack(server, "/openstack/latest/vendor_data.json")) == {"motd": "welcome"}
    assert json.loads(openstack(server, "/openstack/latest/vendor_data2.json")) == {"static": {"motd": "welcome"}}
    assert vendor_data("") == {}


@pytest.mark.parametrize("text", [None, "[]", "no JSON"])
def test_a_file_of_vendor_data_that_cannot_be_used_is_refused_by_its_option(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "vendor.json"
    if text is not None:
        file.write_text(text)

    with pytest.raises(Invalid, match=r"metadata\.vendor_data_file"):
        vendor_data(str(file))


@pytest.mark.parametrize("path", ["/openstack/1999-01-01", "/openstack/latest/x", "/openstack/content/0001", "/openstack/content/../0000"])
def test_openstack_does_not_know_other_paths(path: str) -> None:
    with pytest.raises(NotFound):
        openstack(SERVER, path)


def test_the_config_drive_holds_every_version_and_the_password_but_not_its_document() -> None:
    files = config_drive_files(SERVER)

    assert json.loads(files["openstack/latest/meta_data.json"])["admin_pass"] == "hidden"
    assert files["openstack/2013-04-04/user_data"] == b"#!/bin/sh\necho hi\n"
    assert files["openstack/content/0000"] == b"hello"
    assert json.loads(files["ec2/latest/meta-data.json"])["hostname"] == "web.novalocal"
    assert not [path for path in files if path.endswith("password")]
    assert "ec2/1.0/meta-data.json" not in files


def test_user_data_that_is_no_text_is_on_the_drive_as_it_is() -> None:
    packed = b"\x1f\x8b\x08\x00binary\xff"

    assert config_drive_files(msgspec.structs.replace(SERVER, user_data=packed))["openstack/latest/user_data"] == packed


def test_texts_of_users_stay_texts(world: RealWorld) -> None:
    nasty = '"}\n</x>\x01\u2028;$(reboot)'
    server = InstanceMetadata(
        uuid="u", number=1, project_id="p", name=nasty, hostname="h", metadata={nasty: nasty}, random_seed=random_seed(world)
    )

    document = json.loads(openstack(server, "/openstack/latest/meta_data.json"))

    assert document["name"] == nasty
    assert document["meta"] == {nasty: nasty}
    assert openstack(server, "/openstack/latest").decode().count("\n") == 4
