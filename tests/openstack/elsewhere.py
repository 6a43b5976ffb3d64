"""Tell Neutron of an agent for Linux bridges on a host that there is not: ``elsewhere.py host network options...``.

Ports can be bound to that host, and are wired by nobody. It has a card in the physical network. Runs in the services' own environment.
"""

import sys
import time

from neutron.agent import rpc
from neutron.common import config
from neutron.conf.agent import common as agent
from neutron_lib import context
from neutron_lib.agent import topics
from oslo_config import cfg

SECONDS = 10
host, network, *options = sys.argv[1:]
config.register_common_config_options()
agent.register_agent_state_opts_helper(cfg.CONF)
config.init(options)
reports = rpc.PluginReportStateAPI(topics.REPORTS)
state = {
    "binary": "neutron-linuxbridge-agent",
    "host": host,
    "topic": "N/A",
    "agent_type": "Linux bridge agent",
    "configurations": {
        "bridge_mappings": {},
        "interface_mappings": {network: "eth9"},
        "tunnel_types": ["vxlan"],
        "tunneling_ip": "192.0.2.1",
        "devices": 0,
    },
    "start_flag": True,
}
while True:
    reports.report_state(context.get_admin_context_without_session(), state, use_call=True)
    state.pop("start_flag", None)
    time.sleep(SECONDS)
