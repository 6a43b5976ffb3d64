"""What can be limited."""

from collections.abc import Mapping
from typing import Final

from nova_async.config import Quota

# Kept for old versions only, which set and show them: they limit nothing, and nothing is counted.
NETWORK: Final = ("fixed_ips", "floating_ips", "security_group_rules", "security_groups")
INJECTED: Final = ("injected_files", "injected_file_content_bytes", "injected_file_path_bytes")
GROUPS: Final = ("server_groups", "server_group_members")
SERVERS: Final = ("instances", "cores", "ram", "metadata_items", "key_pairs")
RESOURCES: Final = (*SERVERS, *GROUPS, *INJECTED, *NETWORK)

UNLIMITED: Final = -1


def merged(config: Quota, limits: Mapping[str, int]) -> dict[str, int]:
    """Every resource with its limit: what operators set, over the configuration."""
    table = {name: limits.get(name, getattr(config, name)) for name in (*SERVERS, *GROUPS, *INJECTED)}
    return table | {name: limits.get(name, UNLIMITED) for name in NETWORK}
