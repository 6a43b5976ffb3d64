"""Who can reach the libvirtd that a host starts for itself."""

import json
import os
import stat
import subprocess
import sys

import pytest

from .conftest import QemuHost

pytestmark = [pytest.mark.libvirt, pytest.mark.qemu, pytest.mark.timeout(300)]
SOCKETS = ("libvirt-sock", "libvirt-sock-ro", "libvirt-admin-sock", "virtlogd-sock", "virtlogd-admin-sock")
NOBODY = "65534"
CONNECT = """
import json, os, socket, sys
nobody, *paths = sys.argv[1:]
os.setgroups([]); os.setgid(int(nobody)); os.setuid(int(nobody))
told = {}
for path in paths:
    try: socket.socket(socket.AF_UNIX).connect(path); told[path] = "connected"
    except OSError as error: told[path] = type(error).__name__
print(json.dumps(told))
"""


def test_no_other_user_of_the_host_reaches_libvirt(qemu_host: QemuHost) -> None:
    """SEC-073: not for reading either, whatever the folders above are open for."""
    run = qemu_host.folder / "libvirt" / "run"
    paths = [run / name for name in SOCKETS if (run / name).exists()]
    assert {path.name for path in paths} >= {"libvirt-sock", "libvirt-sock-ro"}
    assert [path.name for path in paths if stat.S_IMODE(os.stat(path).st_mode) & 0o077] == []
    asked = subprocess.run(
        [sys.executable, "-c", CONNECT, NOBODY, *map(str, paths)], capture_output=True, text=True, check=True, timeout=60
    )
    assert set(json.loads(asked.stdout).values()) == {"PermissionError"}
