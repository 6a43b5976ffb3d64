"""What users type: the real client's commands for routers, floating IPs, groups, ports and tags."""

from tests.network.test_network_http import Api, api, networks, openstack

__all__ = ["api", "networks"]

# An external network, and one inside.
GROUND = """\
network create --external --default out -f json
subnet create --network out --subnet-range 203.0.113.0/24 --no-dhcp out-v4 -f json
network create in -f json
subnet create --network in --subnet-range 10.9.0.0/24 in-v4 -f json
"""
MADE = 4


async def test_the_openstack_command_joins_networks_by_routers_and_gives_floating_ips(api: Api) -> None:
    done = await openstack(
        api,
        "admin",
        f"""\
{GROUND}router create r -f json
router set --external-gateway out --description way r
router add subnet r in-v4
router set --route destination=10.8.0.0/24,gateway=10.9.0.7 r
router set --tag edge r
port create --network in --fixed-ip subnet=in-v4,ip-address=10.9.0.9 p -f json
router show r -f json
router list --tags edge -f json
port list --router r -f json
floating ip create --port p --tag web --floating-ip-address 203.0.113.50 out -f json
floating ip list --tags web -f json
floating ip unset --port 203.0.113.50
floating ip set --port p --fixed-ip-address 10.9.0.9 203.0.113.50
floating ip show 203.0.113.50 -f json
floating ip delete 203.0.113.50
router unset --route destination=10.8.0.0/24,gateway=10.9.0.7 r
router remove subnet r in-v4
router unset --external-gateway --tag edge r
router show r -f json
router delete r
router list -f json
""",
    )
    shown, tagged, ports, made, listed, again, bare, left = done[MADE + 2 :]

    assert (shown["description"], shown["tags"]) == ("way", ["edge"])
    assert shown["routes"] == [{"destination": "10.8.0.0/24", "nexthop": "10.9.0.7"}]
    assert [row["Name"] for row in tagged] == ["r"]
    assert len(ports) == 2  # inside and outside; where hosts answer beside it is no port of its own
    assert (made["fixed_ip_address"], made["tags"]) == ("10.9.0.9", ["web"])
    assert [row["Floating IP Address"] for row in listed] == ["203.0.113.50"]
    assert (again["fixed_ip_address"], again["port_id"]) == ("10.9.0.9", made["port_id"])
    assert (bare["external_gateway_info"], bare["routes"], bare["tags"], left) == (None, [], [], [])


async def test_the_openstack_command_changes_tags_and_limits_ports_and_groups(api: Api) -> None:
    done = await openstack(
        api,
        "admin",
        f"""\
{GROUND}network set --tag red --tag blue --description d in
network unset --tag blue in
subnet set --tag red --host-route destination=10.7.0.0/24,gateway=10.9.0.7 in-v4
security group create --stateless g -f json
security group set --tag red --description d g
security group rule create --ingress --ethertype IPv6 --protocol ipv6-icmp --icmp-type 128 g -f json
security group rule create --egress --protocol udp --dst-port 53:54 --remote-ip 10.0.0.0/8 g -f json
port create --network in --security-group g --allowed-address ip-address=10.9.0.77 --tag red p -f json
port set --no-security-group --disable-port-security --no-allowed-address p
port show p -f json
network list --tags red -f json
network show in -f json
subnet list --tags red -f json
port list --tags red --long -f json
security group list --any-tags red,blue -f json
security group show g -f json
extension list --network -f json
network agent list -f json
network rbac list -f json
network segment list -f json
availability zone list --network -f json
""",
    )
    _, _, _, made, port, tagged, network, subnets, ports, groups, group, extensions, agents, shared, segments, zones = done[MADE:]

    assert made["allowed_address_pairs"][0]["ip_address"] == "10.9.0.77"
    assert (port["security_group_ids"], port["port_security_enabled"], port["allowed_address_pairs"]) == ([], False, [])
    assert [row["Name"] for row in tagged] == ["in"]
    assert (network["tags"], network["description"]) == (["red"], "d")
    assert ([row["Name"] for row in subnets], [row["Name"] for row in ports]) == (["in-v4"], ["p"])
    assert [row["Name"] for row in groups] == ["g"]
    assert (group["stateful"], len(group["rules"])) == (False, 4)
    assert {"auto-allocated-topology", "quotas", "router"} <= {row["Alias"] for row in extensions}
    assert (agents, shared, segments) == ([], [], [])
    assert [row["Zone Name"] for row in zones] == ["nova", "nova"]  # of networks, and of routers
