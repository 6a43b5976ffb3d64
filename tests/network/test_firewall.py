"""Whatever rules users write, the ruleset loads: one bad rule would take the whole host's firewall changes with it."""

import asyncio
import itertools
import os
import shutil
from pathlib import Path

import pytest

from nova_async.compute.plugging import dhcp
from nova_async.compute.plugging.firewall import ruleset
from nova_async.compute.plugging.records import End, LocalNetwork
from nova_async.model.guests import FixedIp, PortSpec
from nova_async.model.protocols import PROTOCOLS
from nova_async.world import RealWorld

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("nft"), reason="needs root and nft")
REMOTES = {
    "IPv4": ({}, {"remote_ip_prefix": "0.0.0.0/0"}, {"remote_ip_prefix": "10.1.2.3/32"}, {"remote_group": "g"}, {"remote_group": "empty"}),
    "IPv6": ({}, {"remote_ip_prefix": "::/0"}, {"remote_ip_prefix": "fd00::1/128"}, {"remote_group": "g"}, {"remote_group": "empty"}),
}
RANGES = ({}, {"port_range_min": 1, "port_range_max": 1}, {"port_range_min": 0}, {"port_range_min": 255, "port_range_max": 255})


def port(number: int, rules: tuple[dict[str, object], ...], **other: object) -> PortSpec:
    settings: dict[str, object] = {
        "id": f"{number:08x}-9a1c-4f12-8c39-7d8b37d8a111",
        "network_id": "n",
        "mac": f"fa:16:3e:00:00:{number:02x}",
        "bridge": "nab1",
        "device": f"tap{number:08x}-9",
        "gateway": "10.77.0.1",
        "fixed_ips": (
            FixedIp(address=f"10.77.0.{number}", subnet_id="s", cidr="10.77.0.0/24"),
            FixedIp(address=f"fd00::{number:x}", subnet_id="t", cidr="fd00::/64", version=6),
        ),
        "security_rules": rules,
    }
    return PortSpec(**(settings | other))  # type: ignore[arg-type]


async def accepted_by_nft(text: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *("nft", "--check", "-f", "-"), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await asyncio.wait_for(process.communicate(text.encode()), 30)
    return out.decode() if process.returncode else ""


@pytest.mark.parametrize("written", ["x\ndhcp-script=/tmp/x", "x,set:y", 'x" ; flush ruleset #', "$(id)", "-6"])
def test_whatever_users_write_comes_into_no_file_of_dnsmasq_and_no_rule_of_nft(written: str) -> None:
    """SEC-055"""

    def texts(word: str) -> list[str]:
        rules = ({"group": "g", "direction": "ingress", "ethertype": "IPv4", "protocol": "tcp", "description": word},)
        names = dict.fromkeys(("tag", "network_label", "project_id"), word)
        network = LocalNetwork("nab1", "n", (("a", port(2, rules, dns_servers=("9.9.9.9",), **names)),))
        server = dhcp.Dnsmasq(End("nab1"), Path("/nowhere"), RealWorld())
        return [server._configuration(network), dhcp.hosts(network), ruleset("test", [network], {"nab1": 4000})]

    assert texts(written) == texts("plain")


async def test_every_kind_of_rule_loads() -> None:
    protocols = [None, *PROTOCOLS, *map(str, (0, 1, 6, 17, 58, 132, 200, 255))]
    rules = tuple(
        {"group": "g", "direction": direction, "ethertype": version, "protocol": protocol, **span, **remote}
        for direction, version, protocol, span in itertools.product(("ingress", "egress"), REMOTES, protocols, RANGES)
        for remote in REMOTES[version]
        if "port_range_max" in span or not span or protocol in ("icmp", "icmpv6", "1", "58")
    )
    network = LocalNetwork("nab1", "n", (("a", port(2, rules)), ("b", port(3, ()))))

    assert await accepted_by_nft(ruleset("test", [network], {"nab1": 4000})) == ""


@pytest.mark.parametrize(
    "other",
    [
        {"fixed_ips": ()},
        {"pairs": (("fa:16:3e:00:00:02", "10.77.0.0/24"), ("00:00:5e:00:01:01", "10.77.0.2"), ("00:00:5e:00:01:01", "fd00::/72"))},
        {"gateway": None},
        {"port_security": False},
        {"dhcp": False},
        {"snat": False},
        {"dns_servers": ("9.9.9.9",)},
        {"apart": True},
    ],
)
async def test_every_kind_of_port_loads(other: dict[str, object]) -> None:
    network = LocalNetwork("nab1", "n", (("a", port(2, (), **other)),))

    assert await accepted_by_nft(ruleset("test", [network], {"nab1": 4000})) == ""
    assert await accepted_by_nft(ruleset("test", [network], {}, zones={"nab1": 65535})) == ""


async def test_no_network_is_no_table() -> None:
    text = ruleset("test", [], {})

    assert await accepted_by_nft(text) == ""
    assert "chain" not in text
