"""A real Neutron with the agents of one host: Linux bridges, VXLAN and routed networks, DHCP, and the way to the metadata service."""

import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.openstack import rabbitmq
from tests.openstack.programs import TOOLS

if TYPE_CHECKING:
    from tests.openstack.services import RealServices

METADATA_PORT, METADATA_SECRET = 8775, "shared-for-tests"
AGENTS = 4
ELSEWHERE = "elsewhere"  # a host with an agent's signs of life, and no more
NEAR, FAR = "near0", "far0"  # physical networks: our host has a card in the first, and the other host one in the second
AS_WE_ARE = "env"  # in place of sudo: the agents are root already


def start(services: "RealServices", port: int) -> None:
    programs = services.programs
    files = configuration(services, port)
    programs.run("ip", "link", "add", NEAR, "type", "veth", "peer", "name", f"{NEAR}-wire")
    for end in (NEAR, f"{NEAR}-wire"):
        programs.run("ip", "link", "set", end, "up")
    common = [word for path in files for word in ("--config-file", path)]
    programs.run("neutron-db-manage", *common, "upgrade", "head")
    programs.start("neutron", "neutron-server", *common, port=port)
    for agent in ("linuxbridge", "dhcp", "metadata"):
        programs.start(f"neutron-{agent}", f"neutron-{agent}-agent", *common)
    programs.start(f"neutron-{ELSEWHERE}", "python", "-P", str(Path(__file__).with_name("elsewhere.py")), ELSEWHERE, FAR, *common)


def configuration(services: "RealServices", port: int) -> list[str]:
    """The paths of what all of Neutron's programs read."""
    programs, folder = services.programs, services.programs.folder / "neutron"
    user = {name: value for name, value in services.authtoken().items() if name != "service_token_roles_required"}
    server: dict[str, dict[str, Any]] = {
        "DEFAULT": {
            "core_plugin": "ml2",
            "service_plugins": "segments",
            "transport_url": rabbitmq.URL,
            "bind_host": programs.address,
            "bind_port": port,
            "host": socket.gethostname(),
            "state_path": folder / "state",
            "log_dir": folder,
            "api_workers": 1,
            "rpc_workers": 1,
            "api_paste_config": TOOLS.parent / "etc/neutron/api-paste.ini",
            "notify_nova_on_port_status_changes": "true",
            "notify_nova_on_port_data_changes": "true",
            "interface_driver": "linuxbridge",
            "enable_isolated_metadata": "true",
            "force_metadata": "true",
            "nova_metadata_host": programs.address,
            "nova_metadata_port": METADATA_PORT,
            "metadata_proxy_shared_secret": METADATA_SECRET,
            "metadata_workers": 0,
        },
        "experimental": {"linuxbridge": "true"},
        "database": {"connection": services.database.make("neutron")},
        "keystone_authtoken": services.authtoken(),
        "nova": {**user, "region_name": services.region},
        "oslo_concurrency": {"lock_path": folder / "locks"},
        "AGENT": {"root_helper": AS_WE_ARE},
    }
    switch: dict[str, dict[str, Any]] = {
        "ml2": {
            "type_drivers": "flat,vxlan",
            "tenant_network_types": "vxlan",
            "mechanism_drivers": "linuxbridge",
            "extension_drivers": "port_security",
        },
        "ml2_type_vxlan": {"vni_ranges": "1:1000"},
        "ml2_type_flat": {"flat_networks": f"{NEAR},{FAR}"},
        "linux_bridge": {"physical_interface_mappings": f"{NEAR}:{NEAR}"},
        "vxlan": {"enable_vxlan": "true", "local_ip": programs.address},
        "securitygroup": {"firewall_driver": "iptables", "enable_ipset": "false"},
    }
    return [str(programs.write("neutron/neutron.conf", server)), str(programs.write("neutron/ml2.ini", switch))]
