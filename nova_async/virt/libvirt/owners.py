"""Whose a guest's files are, where hosts share a folder: the file ``owner`` beside them. Everything here blocks.

Its first line is the host that uses the files, and that alone may remove them. While a resize or a migration from another host can
still be reverted, a second line names that host: giving the files up means then that they are the other's again.
"""

from pathlib import Path

import msgspec

NAME = "owner"


class Owner(msgspec.Struct, frozen=True):
    """``host`` is empty for a folder without an owner, which is whose it is found by; ``back_to``: of a move that may be reverted."""

    host: str = ""
    back_to: str = ""


def read(folder: Path) -> Owner:
    try:
        return Owner(*(folder / NAME).read_text().splitlines()[:2])
    except FileNotFoundError:
        return Owner()


def write(folder: Path, owner: Owner) -> None:
    """As a whole or not at all."""
    fresh = folder / f"{NAME}.new"
    fresh.write_text("\n".join(name for name in (owner.host, owner.back_to) if name))
    fresh.replace(folder / NAME)
