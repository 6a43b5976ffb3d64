"""Horizon's panels open without an error, seen with a browser."""

import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.running import ADMIN, REPOSITORY, RunningCloud, free_port, running_cloud

pytestmark = [pytest.mark.openstack, pytest.mark.timeout(1800)]
TOOLS = REPOSITORY / ".venv-horizon"
HERE = Path(__file__).parent
READY_SECONDS, LOOK_SECONDS = 120, 1500
PANELS = (
    "project/", "project/instances/", "project/images", "project/key_pairs", "project/server_groups/", "project/networks/",
    "project/routers/", "project/security_groups/", "project/floating_ips/", "project/network_topology/", "project/volumes/",
    "project/snapshots/", "project/api_access/", "admin/", "admin/hypervisors/", "admin/aggregates/", "admin/instances/",
    "admin/flavors/", "admin/images", "admin/networks/", "admin/routers/", "admin/floating_ips/",
    "admin/volumes/", "admin/snapshots/", "admin/volume_types/", "admin/defaults/", "admin/info/", "identity/", "identity/users/",
    "identity/groups/", "identity/roles/", "identity/domains/", "identity/application_credentials/",
)  # fmt: skip


@contextmanager
def horizon(cloud: RunningCloud, folder: Path) -> Iterator[str]:
    """The URL of a dashboard of this cloud."""
    port, python = free_port(), str(TOOLS / "bin" / "python")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PYTHONPATH": str(HERE),
        "PYTHONWARNINGS": "ignore",
        "DJANGO_SETTINGS_MODULE": "settings",
        "HORIZON_FOLDER": str(folder),
        "HORIZON_KEYSTONE_URL": f"{cloud.url}/identity/v3",
    }
    django = [python, "-m", "django"]
    subprocess.run([*django, "collectstatic", "--noinput"], env=environment, check=True, capture_output=True, timeout=300)
    with (folder / "horizon.log").open("wb") as log:
        serve = [*django, "runserver", "--insecure", "--noreload", f"127.0.0.1:{port}"]
        process = subprocess.Popen(serve, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        until_it_answers(f"http://127.0.0.1:{port}/auth/login/", folder)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def until_it_answers(url: str, folder: Path) -> None:
    end = time.monotonic() + READY_SECONDS
    while True:
        try:
            urllib.request.urlopen(url, timeout=READY_SECONDS).close()
            return
        except OSError:
            assert time.monotonic() < end, (folder / "horizon.log").read_text()[-3000:]
            time.sleep(0.5)


def seen(url: str, password: str, folder: Path) -> list[dict[str, Any]]:
    """What the browser found on each panel."""
    command = ["node", str(HERE / "look.js"), url, password, str(folder), *PANELS]
    environment = {**os.environ, "NODE_PATH": str(TOOLS / "node_modules")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LOOK_SECONDS)
    assert done.returncode == 0, (done.stdout, done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_panels_open_without_an_error(tmp_path: Path) -> None:
    if not (TOOLS / ".installed").exists() or shutil.which("chromium") is None:
        pytest.skip("make test-horizon installs Horizon and a browser")
    with running_cloud(hosts=2) as cloud:
        login = cloud.clouds()[ADMIN]["auth"]
        with cloud.openstack() as openstack:
            openstack("server create --image cirros-fake --flavor m1.tiny --nic auto --wait shown")
        with horizon(cloud, tmp_path) as url:
            panels = seen(url, login["password"], tmp_path)
        wrong = [p for p in panels if p["status"] != 200 or p["messages"] or p["bad"] or p["title"].startswith("Login")]
        assert wrong == [], wrong
        assert [p["panel"] for p in panels] == list(PANELS)
        cloud.has_a_clean_log()
