"""The way of a provider network to the wires: from its bridge to a bridge of the operator's, or to a VLAN of one of the host's devices.

Frames between the host's own end of the network and the wires are kept apart (frames.py): every host answers by the same addresses. All
functions block: run them in a thread.
"""

import errno
import socket
from collections.abc import Mapping

from pyroute2.netlink.exceptions import NetlinkError

from nova_async.compute.plugging.links import Links, bridge_mac, index_of, set_sysctl
from nova_async.compute.plugging.records import LocalNetwork
from nova_async.errors import Conflict, Unavailable

UPLINKS = "nau*"
PROBE = "nauprobe"
UNKNOWN = (errno.EOPNOTSUPP, errno.ENODEV)


def uplink_name(bridge: str) -> str:
    """Of the device on the network's bridge that leads outside."""
    return f"nau{bridge.removeprefix('nab')}"


def other_end(uplink: str) -> str:
    """Of the pair of a flat network: on the operator's bridge."""
    return f"nao{uplink.removeprefix('nau')}"


class Uplinks:
    """``devices``: physical network to the host's device in it, which is the operator's and stays as it is."""

    def __init__(self, links: Links, devices: Mapping[str, str]) -> None:
        self._links, self._devices = links, devices
        self._vlans: bool | None = None  # whether the kernel makes any; None: it has not been asked

    def wires(self) -> tuple[str, ...]:
        """What networks can be had here: ``flat:`` or ``vlan:`` and the physical network."""
        present = {name: device for name, device in self._devices.items() if index_of(device) is not None}
        flat = [f"flat:{name}" for name, device in present.items() if self._is_bridge(device)]
        if present and self._vlans is None:
            self._vlans = self._makes_vlans()
        return tuple(sorted(flat + [f"vlan:{name}" for name in present if self._vlans]))

    def ensure(self, network: LocalNetwork) -> None:
        """Raises ``Conflict`` where the host cannot have such a network, ``Unavailable`` while its device is away."""
        if not network.wires:
            return
        kind, _, physical = network.wires.partition(":")
        device = self._devices.get(physical)
        if device is None:
            raise Conflict(f"The host has no physical network {physical}: compute.physical_networks does not name it.")
        outside, name = index_of(device), uplink_name(network.bridge)
        if outside is None:
            raise Unavailable(f"The host has no device {device}, which compute.physical_networks names for {physical}.")
        if not self._leads(network, outside):
            self._links.remove(name)
            if kind == "vlan":
                self._make_vlan(name, device, outside, network.vlan)
            else:
                self._join(name, device, outside, network.network_id)
        self._links.ip.link("set", index=index_of(name), master=index_of(network.bridge))
        try:
            self._links.ip.link("set", index=index_of(name), state="up")
        except NetlinkError as error:
            if error.code == errno.ENETDOWN:
                raise Unavailable(f"The host's device {device} is down.") from None
            raise

    def stands(self, network: LocalNetwork) -> bool:
        """Whether the network has its way, to the device that is there now: the operator may have made it anew."""
        if not network.wires:
            return True
        outside, inside = index_of(self._devices.get(network.wires.partition(":")[2], "")), index_of(network.bridge)
        if outside is None or inside is None:
            return False
        return self._leads(network, outside) and self._has(uplink_name(network.bridge), "IFLA_MASTER", inside)

    def _leads(self, network: LocalNetwork, outside: int) -> bool:
        name = uplink_name(network.bridge)
        if network.wires.startswith("vlan:"):
            return self._has(name, "IFLA_LINK", outside)
        return index_of(name) is not None and self._has(other_end(name), "IFLA_MASTER", outside)

    def _has(self, name: str, attribute: str, value: int) -> bool:
        index = index_of(name)
        return index is not None and any(link.get_attr(attribute) == value for link in self._links.ip.get_links(index))

    def _join(self, name: str, device: str, outside: int, network_id: str) -> None:
        """A pair between both bridges. A bridge takes the least MAC of its ports for its own: that on the operator's is a great one."""
        if not self._is_bridge(device):
            raise Conflict(f"{device} is no bridge. Put it on one, and name that in compute.physical_networks.")
        other = other_end(name)
        self._links.remove(other)
        self._links.ip.link("add", ifname=name, kind="veth", peer={"ifname": other, "address": f"fe{bridge_mac(network_id)[2:]}"})
        for end in (name, other):
            set_sysctl(f"ipv6/conf/{end}/disable_ipv6", "1")
        self._links.ip.link("set", index=socket.if_nametoindex(other), master=outside, state="up")

    def _make_vlan(self, name: str, device: str, outside: int, number: int | None) -> None:
        try:
            self._links.ip.link("add", ifname=name, kind="vlan", link=outside, vlan_id=number)
        except NetlinkError as error:
            if error.code in UNKNOWN:
                raise Conflict("The host's kernel makes no VLANs (802.1Q).") from None
            if error.code == errno.EEXIST:
                raise Conflict(f"The host has another device for VLAN {number} of {device} already.") from None
            raise
        set_sysctl(f"ipv6/conf/{name}/disable_ipv6", "1")

    def _is_bridge(self, device: str) -> bool:
        [link] = self._links.ip.get_links(index_of(device))
        info = link.get_attr("IFLA_LINKINFO")
        return info is not None and info.get_attr("IFLA_INFO_KIND") == "bridge"

    def _makes_vlans(self) -> bool:
        """The kernel is asked to: nothing else says it before its module is there."""
        self._links.remove(PROBE)
        self._links.ip.link("add", ifname=PROBE, kind="bridge")
        try:
            self._links.ip.link("add", ifname=f"{PROBE}1", kind="vlan", link=socket.if_nametoindex(PROBE), vlan_id=1)
        except NetlinkError as error:
            if error.code in UNKNOWN:
                return False
            raise
        finally:
            self._links.remove(PROBE)
        return True
