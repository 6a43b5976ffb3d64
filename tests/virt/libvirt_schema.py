"""What libvirt's own schema says of a domain: ``virt-xml-validate`` of the package libvirt-clients, which needs xmllint."""

import shutil
import subprocess
from pathlib import Path

import pytest

TOOLS = ("virt-xml-validate", "xmllint")


def assert_valid(text: str, folder: Path) -> None:
    """Skips where libvirt's tools are missing: who is not root has no ``make`` that installs them."""
    if any(shutil.which(tool) is None for tool in TOOLS):
        pytest.skip("virt-xml-validate is not installed")
    file = folder / "domain.xml"
    file.write_text(text)
    checked = subprocess.run([TOOLS[0], str(file), "domain"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
