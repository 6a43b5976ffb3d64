"""A routed network at a real Neutron: one segment where our host has a card, one where it has none."""

import time
from typing import TYPE_CHECKING, Any

from openstack.connection import Connection

from tests.openstack.neutron import FAR, NEAR

if TYPE_CHECKING:
    from tests.openstack.conftest import Site

SECONDS = 240


def goes_where_its_network_is(site: "Site", user: Connection, image: str) -> None:
    admin = site.connect("admin", "admin")
    network = admin.network.create_network(
        name="routed", shared=True, provider_network_type="flat", provider_physical_network=NEAR, port_security_enabled=False
    )
    [near] = admin.network.segments(network_id=network.id)
    far = admin.network.create_segment(network_id=network.id, network_type="flat", physical_network=FAR, name="far")
    for segment, cidr in ((near, "10.79.1.0/24"), (far, "10.79.2.0/24")):
        admin.network.create_subnet(network_id=network.id, segment_id=segment.id, ip_version=4, cidr=cidr, enable_dhcp=False)
    later = user.network.create_port(network_id=network.id, name="later")
    assert (later.fixed_ips, later.ip_allocation) == ([], "deferred")

    refused = _made(user, image, "away", {"uuid": network.id, "fixed_ip": "10.79.2.77"})
    assert refused.status == "ERROR", refused
    assert f"it reaches no segment of the network {network.id} that has the server's subnet" in refused.fault["message"], refused.fault
    here = _made(user, image, "here", {"port": later.id})
    assert here.status == "ACTIVE", here.fault
    [shown] = here.addresses["routed"]
    assert shown["addr"].startswith("10.79.1."), shown

    for server in (refused, here):
        user.compute.delete_server(server)
    for server in (refused, here):
        user.compute.wait_for_delete(server, interval=0.5, wait=SECONDS)
    user.network.delete_port(later)
    admin.network.delete_network(network)


def _made(user: Connection, image: str, name: str, card: dict[str, str]) -> Any:
    flavor = user.compute.find_flavor("m1.nano")
    server = user.compute.create_server(name=name, image_id=image, flavor_id=flavor.id, networks=[card])
    end = time.monotonic() + SECONDS
    while (now := user.compute.get_server(server)).status == "BUILD":
        assert time.monotonic() < end, now
        time.sleep(0.5)
    return now
