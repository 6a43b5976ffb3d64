"""Whether the machine was started anew since a worker last registered from it: then all guests went down with it."""

from collections.abc import Callable
from pathlib import Path

BOOT = Path("/proc/sys/kernel/random/boot_id")
FIRST = Path("/proc/1/stat")
START_TIME = 19  # of the fields after the process's name


def this_boot() -> str:
    """Different after each start of the machine, or of the container that we are in. Blocks."""
    return f"{BOOT.read_text().strip()} {FIRST.read_text().rpartition(')')[2].split()[START_TIME]}"


class Boots:
    """Kept in the file ``boot`` of the state folder; without one nothing ran here before."""

    def __init__(self, state: Path, present: Callable[[], str] = this_boot) -> None:
        self._file = state / "boot"
        self._present = present
        self._another: bool | None = None

    def is_another(self) -> bool:
        """The same answer as long as we run. Blocks."""
        if self._another is None:
            self._another = self._file.exists() and self._file.read_text() != self._present()
        return self._another

    def remember(self) -> None:
        """Blocks."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.write_text(self._present())
