"""``make test-kernel``: tests that want more of the kernel than this machine's may have, in a machine with Debian's.

The words after it are pytest's. The status is that of pytest.
"""

import sys
import tempfile
from pathlib import Path

from tests.kernel import machine
from tests.virt.conftest import find_test_guest

SECONDS = 3600
TESTS = ("-m", "kernel", "tests/volume", "tests/network")
SLOW = ("--timeout=1200", "-p", "no:cacheprovider", "-v")  # processors may be emulated, and our folder is read-only there


def main() -> int:
    [package] = sorted((find_test_guest() / ".debs").glob("linux-image-*.deb"))[-1:]
    with tempfile.TemporaryDirectory(prefix="nova-async-kernel-") as folder:
        return machine.run(Path(folder), package, [sys.executable, "-m", "pytest", *SLOW, *(sys.argv[1:] or TESTS)], SECONDS)


if __name__ == "__main__":
    sys.exit(main())
