"""How much a project may have. Usage is counted from the rows themselves, in the transaction that adds to them."""

from collections.abc import Mapping
from typing import Final

from nova_async.config import Quota
from nova_async.errors import QuotaExceeded

# Kept for old versions only, which set and show them: they limit nothing, and nothing is counted.
NETWORK: Final = ("fixed_ips", "floating_ips", "security_group_rules", "security_groups")
INJECTED: Final = ("injected_files", "injected_file_content_bytes", "injected_file_path_bytes")
GROUPS: Final = ("server_groups", "server_group_members")
COUNTED: Final = ("instances", "cores", "ram")  # of live servers, per project
SERVERS: Final = (*COUNTED, "metadata_items", "key_pairs")
RESOURCES: Final = (*SERVERS, *GROUPS, *INJECTED, *NETWORK)

UNLIMITED: Final = -1


def merged(config: Quota, limits: Mapping[str, int]) -> dict[str, int]:
    """Every resource with its limit: what operators set (for the project, or for the class "default"), over the configuration."""
    table = {name: limits.get(name, getattr(config, name)) for name in (*SERVERS, *GROUPS, *INJECTED)}
    return table | {name: limits.get(name, UNLIMITED) for name in NETWORK}


def of_user(limits: Mapping[str, int]) -> dict[str, int]:
    """What is counted, with the limits that operators set for one user of a project; what they left open is unlimited."""
    return {resource: limits.get(resource, UNLIMITED) for resource in COUNTED}


def holding(limits: Mapping[str, int], user_limits: Mapping[str, int]) -> dict[str, int]:
    """The limits of what one user asks for at once (metadata, files, members of a group): the user's own, else the project's."""
    return {**limits, **{resource: limit for resource, limit in user_limits.items() if resource not in COUNTED}}


def over(limits: Mapping[str, int], used: Mapping[str, int], added: Mapping[str, int]) -> list[str]:
    """What of ``COUNTED`` would be more than the limits."""
    return sorted(r for r in COUNTED if added[r] and limits[r] != UNLIMITED and used[r] + added[r] > limits[r])


def exceeded(limits: Mapping[str, int], used: Mapping[str, int], added: Mapping[str, int], asked: Mapping[str, str]) -> QuotaExceeded:
    """The refusal in Nova's words. ``asked`` is what the text shows as requested (``1-3`` instances, say)."""
    overs = over(limits, used, added)

    def listed(values: Mapping[str, int | str]) -> str:
        return ", ".join(str(values[resource]) for resource in overs)

    names = ", ".join(overs)
    return QuotaExceeded(
        f"Quota exceeded for {names}: Requested {listed(asked)}, but already used {listed(used)} of {listed(limits)} {names}"
    )


def check_metadata(limits: Mapping[str, int], items: int) -> None:
    """Raises ``QuotaExceeded`` for too many metadata items of one server."""
    limit = limits["metadata_items"]
    if limit != UNLIMITED and items > limit:
        raise QuotaExceeded(f"Maximum number of metadata items exceeds {limit}")


def check_injected_files(limits: Mapping[str, int], files: list[tuple[str, int]]) -> None:
    """``files``: path and number of bytes of each. Raises ``QuotaExceeded``."""

    def too_much(resource: str, amount: int) -> bool:
        return limits[resource] != UNLIMITED and amount > limits[resource]

    if too_much("injected_files", len(files)):
        raise QuotaExceeded("Personality file limit exceeded")
    if too_much("injected_file_path_bytes", max((len(path.encode()) for path, _ in files), default=0)):
        raise QuotaExceeded(f"Personality file path exceeds maximum {limits['injected_file_path_bytes']}")
    if too_much("injected_file_content_bytes", max((size for _, size in files), default=0)):
        raise QuotaExceeded(f"Personality file content exceeds maximum {limits['injected_file_content_bytes']}")
