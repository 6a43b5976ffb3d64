"""Keeps the frames of message types that have none yet, or that grew: ``python -m tests.wire.record``, for each release.

Lines are only ever added. A line that does not decode any more means that an older release is not understood.
"""

import importlib
import pkgutil
from pathlib import Path

from nova_async.bus import messages
from nova_async.bus.messages import KINDS
from tests.wire import sample

FRAMES = Path(__file__).parent / "frames"


def all_kinds() -> dict[str, type[messages.Message]]:
    """Every message type there is."""
    for module in pkgutil.iter_modules(messages.__path__, messages.__name__ + "."):
        importlib.import_module(module.name)
    return dict(sorted(KINDS.items()))


def recorded(name: str) -> list[str]:
    path = FRAMES / f"{name}.jsonl"
    return path.read_text().splitlines() if path.exists() else []


def wanted(name: str) -> list[str]:
    """What today's release says: all it can, and the least it may."""
    kind = all_kinds()[name]
    return [sample.frame(kind, body) for body in (sample.bare(kind), sample.full(kind))]


def main() -> None:
    FRAMES.mkdir(exist_ok=True)
    for name in all_kinds():
        known = recorded(name)
        lines = list(dict.fromkeys([*known, *wanted(name)]))
        if lines != known:
            (FRAMES / f"{name}.jsonl").write_text("".join(f"{line}\n" for line in lines))
            print(f"{name}: {len(lines) - len(known)} new")


if __name__ == "__main__":
    main()
