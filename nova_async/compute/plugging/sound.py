"""Whether a host can make sense of a server's ports: the rules of all servers are loaded as a whole, and a wrong one would spoil them."""

import ipaddress
import re
from collections.abc import Callable
from typing import Any

from nova_async.compute.plugging.records import Plugged
from nova_async.errors import Invalid
from nova_async.model.guests import PortSpec
from nova_async.model.protocols import PROTOCOLS

DEVICE = re.compile(r"[A-Za-z0-9_.-]{1,15}")  # of Linux: at most 15 octets
MAC = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}")
LAST_PORT, LAST_PROTOCOL = 65_535, 255


def check(plugged: Plugged) -> None:
    """Raises ``Invalid``, naming port and part."""
    for port in plugged.ports:
        for what, holds, parts in _parts(port):
            for part in parts:
                if not _holds(holds, part):
                    raise Invalid(f"Port {port.id} cannot be plugged: its {what} makes no sense to the host.", detail=repr(part)[:200])


def _parts(port: PortSpec) -> list[tuple[str, Callable[[Any], Any], list[Any]]]:
    """What, the test of it, and each such part of the port."""
    hosts = [port.host_address, *(ip.host_address for ip in port.fixed_ips)]
    gateways = [address for address in (port.gateway, *hosts) if address is not None]
    return [
        ("device", DEVICE.fullmatch, [port.device, port.bridge]),
        ("MAC address", MAC.fullmatch, [port.mac, *(mac for mac, _ in port.pairs)]),
        ("address", ipaddress.ip_address, [*(ip.address for ip in port.fixed_ips), *gateways, *port.dns_servers]),
        ("range", ipaddress.ip_network, [*(ip.cidr for ip in port.fixed_ips), *(address for _, address in port.pairs)]),
        ("route", _is_route, list(port.routes)),
        ("security group rule", _is_rule, list(port.security_rules)),
    ]


def _holds(test: Callable[[Any], Any], part: Any) -> bool:
    """Most tests raise rather than say no."""
    try:
        return test(part) not in (None, False)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        return False


def _is_route(route: tuple[str, str]) -> bool:
    to, via = route
    return ipaddress.ip_network(to).version == ipaddress.ip_address(via).version


def _is_rule(rule: dict[str, Any]) -> bool:
    version = {"IPv4": 4, "IPv6": 6}[rule["ethertype"]]
    prefix, protocol = rule.get("remote_ip_prefix"), rule.get("protocol")
    numbers = [rule.get("port_range_min"), rule.get("port_range_max")]
    return (
        rule["direction"] in ("ingress", "egress")
        and (not prefix or ipaddress.ip_interface(prefix).version == version)
        and (protocol is None or protocol in PROTOCOLS or 0 <= int(protocol) <= LAST_PROTOCOL)
        and all(number is None or (isinstance(number, int) and 0 <= number <= LAST_PORT) for number in numbers)
    )
