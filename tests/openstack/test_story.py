"""The same story of a guest with each real service in place of ours, and with all of them."""

import re
from pathlib import Path
from typing import Any

import pytest
from openstack.connection import Connection

from tests.openstack.conftest import Site, site
from tests.openstack.encrypted import encrypted_volumes_are_opened
from tests.openstack.guests import ACTIVE_SECONDS, WATCH, booted, said
from tests.openstack.ports import change_hosts
from tests.openstack.segments import goes_where_its_network_is
from tests.openstack.signatures import only_signed_images_make_servers
from tests.openstack.volumes import is_a_volume_service, is_brought_elsewhere, stays_where_it_is, until_backends_are_known

pytestmark = [pytest.mark.openstack, pytest.mark.timeout(1800), pytest.mark.filterwarnings("ignore::Warning")]
GIB = 2**30
FIRST_MIGRATION_FAILS = {"NOVA_ASYNC_CONDUCTOR_FAULT_POINTS": '["swap_volume/swap_guests/after=once-fail"]'}
CHOICES = [("identity",), ("image",), ("network",), ("volume",), ("identity", "image", "network", "volume")]


@pytest.mark.parametrize("kinds", CHOICES, ids="+".join)
def test_a_guest_boots_is_copied_and_goes(installed: None, real_guests_can_run: None, test_guest: Path, kinds: tuple[str, ...]) -> None:
    with site(test_guest, *kinds, **FIRST_MIGRATION_FAILS) as place:
        user = place.connect()
        if "identity" in kinds:
            access_rules_hold(place, user)
        if "network" in kinds:
            network = user.network.create_network(name="private")
            user.network.create_subnet(name="private", network_id=network.id, ip_version=4, cidr="10.78.0.0/24")
        image = user.image.create_image("guest", filename=str(test_guest / "test.qcow2"), disk_format="qcow2", container_format="bare")
        first = booted(user, "first", image.id)
        told = said(user, first, "TESTGUEST ready")
        found_its_surroundings(user, first, told)
        assert "boots=1" in told

        copy = user.compute.create_server_image(first, "copy", wait=True, timeout=ACTIVE_SECONDS)
        kept = user.image.get_image(copy.id)
        assert (kept.status, kept.owner_id, kept.properties["image_type"]) == ("active", user.current_project_id, "snapshot")
        second = booted(user, "second", copy.id)
        assert "boots=2" in said(user, second, "TESTGUEST ready"), "what the first guest wrote is not in its copy"

        if "network" in kinds:
            change_hosts(place, second)
            goes_where_its_network_is(place, user, image.id)
        for server in (first, second):
            user.compute.delete_server(server)
        for server in (first, second):
            user.compute.wait_for_delete(server, interval=0.5, wait=ACTIVE_SECONDS)
        user.image.delete_image(copy.id, ignore_missing=False)
        if "volume" in kinds:
            volumes_come_grow_and_go(place, user, image.id)
            is_a_volume_service(place, user)
        leaves_nothing(place, user)


def test_only_signed_images_make_servers(installed: None, real_guests_can_run: None, test_guest: Path) -> None:
    with site(test_guest, "identity", "image", "key_manager", NOVA_ASYNC_IMAGE_VERIFY_SIGNATURES="true") as place:
        only_signed_images_make_servers(place.connect(), test_guest / "test.qcow2")
        leaves_nothing(place, place.connect())


def test_a_guest_has_encrypted_volumes(installed: None, real_guests_can_run: None, test_guest: Path) -> None:
    with site(test_guest, "identity", "volume", "key_manager") as place:
        user = place.connect()
        image = user.image.create_image("guest", filename=str(test_guest / "test.qcow2"), disk_format="qcow2", container_format="bare")
        encrypted_volumes_are_opened(place, user, image.id)
        leaves_nothing(place, user)


def access_rules_hold(place: Site, user: Connection) -> None:
    """Keystone keeps them, and our API holds a token to what it tells of them."""
    rules = [{"service": "compute", "method": "GET", "path": "/v2.1/servers/{server_id}"}]
    made = user.identity.create_application_credential(user.current_user_id, name="watcher", access_rules=rules)
    watcher = place.connect_with(made)
    api = f"{place.cloud.url}/compute/v2.1"
    assert watcher.session.get(f"{api}/servers/detail").status_code == 200
    for refused in (watcher.session.get(f"{api}/flavors", raise_exc=False), watcher.session.post(f"{api}/servers/detail", raise_exc=False)):
        assert refused.status_code == 403
        assert "No access rule" in refused.text
    user.identity.delete_application_credential(user.current_user_id, made)


def volumes_come_grow_and_go(place: Site, user: Connection, image: str) -> None:
    until_backends_are_known(place.connect("admin", "admin"))
    volume = user.block_storage.create_volume(size=1, name="data")
    user.block_storage.wait_for_status(volume, "available", interval=0.5, wait=ACTIVE_SECONDS)
    writer = booted(user, "writer", image, config_drive=False, user_data=WATCH)
    said(user, writer, "USERDATA watching")
    user.compute.create_volume_attachment(writer, volume_id=volume.id)
    user.block_storage.wait_for_status(volume, "in-use", interval=0.5, wait=ACTIVE_SECONDS)
    assert "USERDATA volume holds nothing" in said(user, writer, "USERDATA volume written")
    user.block_storage.extend_volume(volume, 2)
    said(user, writer, f"USERDATA volume has {2 * GIB // 512} sectors")
    stays_where_it_is(place, volume.id)
    is_brought_elsewhere(place, volume.id)
    user.block_storage.extend_volume(volume, 3)
    said(user, writer, f"USERDATA volume has {3 * GIB // 512} sectors")
    user.compute.delete_volume_attachment(writer, volume.id)
    said(user, writer, "USERDATA volume gone")
    user.block_storage.wait_for_status(volume, "available", interval=0.5, wait=ACTIVE_SECONDS)

    root = {"uuid": image, "source_type": "image", "destination_type": "volume", "volume_size": 1, "boot_index": 0}
    data = {"uuid": volume.id, "source_type": "volume", "destination_type": "volume", "boot_index": -1}
    disks = [root | {"delete_on_termination": True}, data]
    reader = booted(user, "reader", "", config_drive=False, user_data=WATCH, block_device_mapping=disks)
    assert "USERDATA volume holds from the writer" in said(user, reader, "USERDATA volume written")
    assert {each.name for each in user.block_storage.volumes() if each.status == "in-use"} == {"", "data"}
    user.compute.reboot_server(reader, "HARD")
    user.compute.wait_for_server(reader, interval=0.5, wait=ACTIVE_SECONDS)
    assert "boots=2" in said(user, reader, "boots=2"), "it did not boot from the same volume"
    user.compute.stop_server(reader)
    user.compute.wait_for_server(reader, status="SHUTOFF", interval=0.5, wait=ACTIVE_SECONDS)
    stays_where_it_is(place, volume.id)

    for server in (writer, reader):
        user.compute.delete_server(server)
    for server in (writer, reader):
        user.compute.wait_for_delete(server, interval=0.5, wait=ACTIVE_SECONDS)
    user.block_storage.wait_for_status(volume, "available", interval=0.5, wait=ACTIVE_SECONDS)
    user.block_storage.delete_volume(volume)
    for one in list(user.block_storage.volumes()):
        user.block_storage.wait_for_delete(one, interval=0.5, wait=ACTIVE_SECONDS)


def found_its_surroundings(user: Connection, server: Any, told: str) -> None:
    [addresses] = user.compute.get_server(server).addresses.values()
    [shown] = re.findall(r"TESTGUEST net eth0 mac=\S+ ip=([\d.]+)/\d+ .*from=dhcp", told)
    assert shown == addresses[0]["addr"]
    assert f"TESTGUEST metadata-http uuid={server.id}" in told
    assert re.search(rf"TESTGUEST config-drive dev=\w+ type=\w+ uuid={server.id}", told), told


def leaves_nothing(place: Site, user: Connection) -> None:
    assert list(user.compute.servers()) == []
    assert [p.id for p in user.network.ports(project_id=user.current_project_id) if p.device_owner.startswith("compute:")] == []
    assert place.host.processes("qemu-system") == []
    place.cloud.is_consistent()
    text = place.cloud.log_text()
    assert "Traceback" not in text, text[max(0, text.index("Traceback") - 500) :][:3000]
