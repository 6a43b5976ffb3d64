"""Names of disks in guests: /dev/vda, /dev/vdb ... by the bus that they are on."""

from collections.abc import Iterable, Mapping
from typing import Any

PREFIXES: dict[str, str] = {"virtio": "vd", "scsi": "sd", "sata": "sd", "usb": "sd", "ide": "hd", "fdc": "fd", "xen": "xvd"}
LETTERS = "abcdefghijklmnopqrstuvwxy"  # z is the config drive's


def prefix_of(bus: str | None) -> str:
    """Before the letter: /dev/vd."""
    return f"/dev/{PREFIXES.get(bus or 'virtio', 'vd')}"


def made_by_host(flavor: Mapping[str, Any], prefix: str) -> list[str]:
    """The root disk, and after it the ephemeral disk and the swap disk, where the flavor has them."""
    count = 1 + (int(flavor.get("ephemeral_gb", 0)) > 0) + (int(flavor.get("swap", 0)) > 0)
    return [prefix + letter for letter in LETTERS[:count]]


def next_name(taken: Iterable[str], prefix: str) -> str | None:
    """The first name that is free; None when all are taken."""
    used = set(taken)
    return next((name for letter in LETTERS if (name := prefix + letter) not in used), None)
