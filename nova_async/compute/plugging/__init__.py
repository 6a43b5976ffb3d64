"""Ports on a Linux host: a bridge per network, a tap per port, DHCP, firewall and the way to the metadata service.

``plugs.py`` tells the story, ``routers.py`` that of routers; ``records.py`` remembers on disk, ``links.py`` speaks netlink,
``firewall.py`` writes one nftables ruleset, ``nat.py`` those of routers, ``dhcp.py`` runs dnsmasq, ``proxy.py`` vouches for guests to the
metadata service. ``surroundings.py`` asks what is on other hosts, ``tunnels.py`` reaches it. ``apart.py`` makes the host's own end of
networks whose ranges others have, too.
``wired.py`` makes the taps of ports that an agent of Neutron's wires.
"""

from nova_async.compute.plugging.plugs import LinuxBridgePlugs
from nova_async.compute.plugging.routers import LinuxRouters

__all__ = ["LinuxBridgePlugs", "LinuxRouters"]
