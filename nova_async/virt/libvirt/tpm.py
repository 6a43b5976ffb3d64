"""What a guest's virtual TPM (swtpm) remembers, on its way to another host: one small file.

libvirt keeps it in a folder of its own, of which it tells nothing; a running guest takes it along by itself. Everything here blocks.
"""

import os
from pathlib import Path

PLACE = "/var/lib/libvirt/swtpm"
STATES = {"tpm2": "tpm2-00.permall", "tpm1.2": "tpm-00.permall"}  # libvirt's folder for each version, and swtpm's file in it


def gather(place: Path, instance_id: str, folder: Path) -> None:
    """Copy it into the guest's folder; a guest without one has none there afterwards."""
    for version, name in STATES.items():
        (folder / name).unlink(missing_ok=True)
        _copy(place / instance_id / version / name, folder / name)


def put(place: Path, instance_id: str, folder: Path) -> None:
    """Copy it to where libvirt looks for it, which gives it to swtpm's user when the guest is started."""
    for version, name in STATES.items():
        _copy(folder / name, place / instance_id / version / name)


def _copy(source: Path, target: Path) -> None:
    if source.exists():
        target.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(source.read_bytes())
            file.flush()
            os.fsync(file.fileno())  # before that, where its data are is not settled
