"""Whether the network cards that a user asks for can be given: the same judgement for our own networks and for Neutron's."""

import ipaddress
import uuid
from collections import Counter
from typing import Any

import msgspec

from nova_async.context import Context
from nova_async.db.networks import Survey
from nova_async.errors import Conflict, Error, Forbidden, Invalid
from nova_async.services.network import NetworkRequest

DEFAULT = "default"  # the group that ports are in by themselves, where they can be in one


def judged(requests: list[NetworkRequest] | None, security_groups: list[str], survey: Survey, ctx: Context) -> list[NetworkRequest]:
    """The requests, resolved. Raises as ``NetworkService.check``; ``well_formed`` comes first."""
    known_groups(survey, security_groups)
    if requests is None:
        given = only_network(survey)
    else:
        no_repeats(requests)
        given = [resolved(request, survey, ctx) for request in requests]
    if security_groups not in ([], [DEFAULT]) and not all(_on_guarded(request, survey) for request in given):
        raise Invalid("Network requires port_security_enabled and subnet associated in order to apply security groups.")
    return given


def is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text.lower()
    except (ValueError, AttributeError, TypeError):
        return False


def well_formed(request: NetworkRequest, count: int) -> None:
    """Refuse what no state of the database could make right."""
    if request.network_id is not None and not is_uuid(request.network_id):
        raise Invalid(f"Bad networks format: network uuid is not in proper format ({request.network_id})")
    if request.port_id is not None and not is_uuid(request.port_id):
        raise Invalid(f"Bad networks format: port uuid is not in proper format ({request.port_id})")
    if request.network_id is None and request.port_id is None:
        raise Invalid("Bad networks format: each network needs a uuid or a port.")
    if request.fixed_ip is not None:
        try:
            ipaddress.ip_address(request.fixed_ip)
        except ValueError:
            raise Invalid(f"Invalid fixed IP address ({request.fixed_ip})") from None
        if request.port_id is not None:
            raise Invalid("Specified Fixed IP cannot be used with a port: the port has its own addresses.")
        if count > 1:
            raise Invalid("Invalid fixed IP: multiple servers cannot be given the same address.")
    if request.port_id is not None and count > 1:
        raise Invalid("Unable to launch multiple instances with a single configured port ID. Please launch your instance one by one.")


def no_repeats(requests: list[NetworkRequest]) -> None:
    ports = Counter(r.port_id for r in requests if r.port_id)
    addresses = Counter((r.network_id, r.fixed_ip) for r in requests if r.fixed_ip)
    if any(n > 1 for n in (*ports.values(), *addresses.values())):
        raise Invalid("The same port or address was asked for more than once.")


def known_groups(survey: Survey, names: list[str]) -> None:
    for name in names:
        matches = [g for g in survey.groups if name in (g["id"], g["name"])]
        if not matches and name not in (DEFAULT, survey.default_group):
            raise Invalid(f"Security group {name} not found.")
        if len(matches) > 1:
            raise Conflict(f"Multiple security groups found matching '{name}'. Use an ID to be more specific.")


def only_network(survey: Survey) -> list[NetworkRequest]:
    """The network of a user who named none."""
    usable = [n for n in survey.networks if not n["external"] and n["cidrs"]]
    if len(usable) > 1:
        raise Conflict("Multiple possible networks found, use a Network ID to be more specific.")
    return [NetworkRequest(network_id=n["id"], wires=n.get("wires", "")) for n in usable]


def not_allocated(project_id: str, error: Error) -> Invalid:
    """What a server that asks for networks "auto" is told when none could be made."""
    return Invalid(f"Unable to automatically allocate a network for project {project_id}", detail=error.message)


def resolved(request: NetworkRequest, survey: Survey, ctx: Context) -> NetworkRequest:
    if request.port_id is not None:
        port = _usable_port(request.port_id.lower(), survey)
        return msgspec.structs.replace(request, wires=port.get("wires", ""))
    network = next((n for n in survey.networks if n["id"] == (request.network_id or "").lower()), None)
    if network is None:
        raise Invalid(f"Network {request.network_id} could not be found.")
    if network["external"] and not network["shared"] and not ctx.is_admin:
        raise Forbidden(f"It is not allowed to create an interface on external network {request.network_id}")
    if not network["cidrs"]:
        raise Invalid(f"Network {request.network_id} requires a subnet in order to boot instances on.")
    if request.fixed_ip is not None:
        _free_address(request.fixed_ip, network)
    return msgspec.structs.replace(request, wires=network.get("wires", ""))


def _on_guarded(request: NetworkRequest, survey: Survey) -> bool:
    """Whether the card's network has port security."""
    if request.port_id is not None:
        return any(p["on_guarded"] for p in survey.ports if p["id"] == request.port_id.lower())
    return any(n["guarded"] for n in survey.networks if n["id"] == (request.network_id or "").lower())


def _usable_port(port_id: str, survey: Survey) -> dict[str, Any]:
    port = next((p for p in survey.ports if p["id"] == port_id), None)
    if port is None:
        raise Invalid(f"Port id {port_id} could not be found.")
    if port["in_use"]:
        raise Conflict(f"Port {port_id} is still in use.")
    if not port["addressed"]:
        raise Invalid(f"Port {port_id} requires a FixedIP in order to be used.")
    return port


def _free_address(text: str, network: dict[str, Any]) -> None:
    address = ipaddress.ip_address(text)
    subnets = [ipaddress.ip_network(cidr) for cidr in network["cidrs"]]
    if not any(usable_address(address, subnet) for subnet in subnets):
        raise Invalid(f"Fixed IP address {text} is not a valid ip address for network {network['id']}.")
    if str(address) in network["taken"] or str(address) in network["gateways"]:
        raise Invalid(f"Fixed IP address {text} is already in use on network {network['id']}.")


def usable_address(
    address: "ipaddress.IPv4Address | ipaddress.IPv6Address", subnet: "ipaddress.IPv4Network | ipaddress.IPv6Network"
) -> bool:
    """Whether a host may have this address in the subnet."""
    if address not in subnet:
        return False
    ends = {subnet.network_address} if subnet.version == 6 else {subnet.network_address, subnet.broadcast_address}
    return subnet.num_addresses <= 2 or address not in ends
