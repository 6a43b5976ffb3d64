"""How much a project may have. Usage is counted from the rows themselves, in the transaction that adds to them."""

from collections.abc import Mapping

import msgspec

from nova_async.config import Quota
from nova_async.errors import QuotaExceeded

UNLIMITED = -1
COUNTED = ("instances", "cores", "ram")  # of live servers, per project


def effective(defaults: Quota, chosen: Mapping[str, int]) -> dict[str, int]:
    """Every limit of a project: what operators chose (for it, or for the class "default"), else the configuration. -1: unlimited."""
    return {**msgspec.to_builtins(defaults), **chosen}


def exceeded(limits: Mapping[str, int], used: Mapping[str, int], added: Mapping[str, int], asked: Mapping[str, str]) -> QuotaExceeded:
    """The refusal in Nova's words. ``asked`` is what the text shows as requested (``1-3`` instances, say)."""
    overs = sorted(r for r in COUNTED if limits[r] != UNLIMITED and used[r] + added[r] > limits[r])

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

    def over(resource: str, amount: int) -> bool:
        return limits[resource] != UNLIMITED and amount > limits[resource]

    if over("injected_files", len(files)):
        raise QuotaExceeded("Personality file limit exceeded")
    if over("injected_file_path_bytes", max((len(path.encode()) for path, _ in files), default=0)):
        raise QuotaExceeded(f"Personality file path exceeds maximum {limits['injected_file_path_bytes']}")
    if over("injected_file_content_bytes", max((size for _, size in files), default=0)):
        raise QuotaExceeded(f"Personality file content exceeds maximum {limits['injected_file_content_bytes']}")
