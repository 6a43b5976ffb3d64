"""Ports on a Linux host: a bridge per network, a tap per port, DHCP, firewall and the way to the metadata service.

``plugs.py`` tells the story; ``records.py`` remembers on disk, ``links.py`` speaks netlink, ``firewall.py`` writes one
nftables ruleset, ``dhcp.py`` runs dnsmasq, ``proxy.py`` vouches for guests to the metadata service. ``surroundings.py`` asks what is on
other hosts, ``tunnels.py`` reaches it.
``wired.py`` makes the taps of ports that an agent of Neutron's wires.
"""

from nova_async.compute.plugging.plugs import LinuxBridgePlugs

__all__ = ["LinuxBridgePlugs"]
