"""``make tempest``: OpenStack's acceptance suite against ``nova-async up``, the lab's hosts, or a cloud that runs already.

Everything is kept in a directory of its own (``--folder``): the cloud's state and log, ``etc/tempest.conf``, the results.
The status is 0 when every test that ran passed.
"""

import argparse
import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nova_async.config import Network
from nova_async.virt import testguest
from nova_async.world import RealWorld
from tests.lab import hosts
from tests.tempest import conf

TOOLS = Path(".venv-tempest/bin").absolute()
READY_SECONDS, STOP_SECONDS = 120, 60
CERTIFICATES = "certificates"  # of those who sign images, and of those who vouch for them
# Real guests live in namespaces of their own, with their network and daemons, and end with them. Needs root.
OWN = 'mount -t tmpfs tmpfs /run/netns && ip link set lo up && "$@"'
APART = ("unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", OWN, "sh")

# What an operator would tell a cloud that Tempest is to be run against.
SETTINGS = {"NOVA_ASYNC_SCHEDULER_FILTERS": json.dumps(conf.FILTERS), "NOVA_ASYNC_QUOTA_INSTANCES": "50", "NOVA_ASYNC_QUOTA_CORES": "100"}
ONE_HOST = {
    "NOVA_ASYNC_COMPUTE_ALLOW_RESIZE_TO_SAME_HOST": "true",
    "NOVA_ASYNC_COMPUTE_CONSOLES": '["vnc", "spice", "serial"]',
}


def main() -> int:
    options = _options()
    folder: Path = options.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    if options.virt == "libvirt" and not options.apart:
        asyncio.run(testguest.build(folder / "testguest", RealWorld(), install=True))
    if options.cloud:
        return _test(options, folder, options.cloud.absolute())
    if options.virt == "libvirt" and not options.apart:
        Path("/run/netns").mkdir(exist_ok=True)
        return subprocess.run([*APART, sys.executable, "-m", "tests.tempest", "--apart", *sys.argv[1:]]).returncode
    with (_lab if options.virt == "libvirt" and options.hosts > 1 else _cloud)(options, folder) as clouds:
        return _test(options, folder, clouds)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make tempest", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp/nova-async-tempest"))
    parser.add_argument("--cloud", type=Path, help="the clouds.yaml of a cloud that runs; without it one is started")
    parser.add_argument("--listen", default="127.0.0.1:8798")
    parser.add_argument("--virt", default="fake")
    parser.add_argument("--hosts", type=int, default=2, help="of the cloud; with real guests, more than one make a lab of them")
    parser.add_argument("--apart", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--regex", default=r"^tempest\.api\.compute")
    parser.add_argument("--min-microversion", default="2.1")
    parser.add_argument("--concurrency", default="2")
    return parser.parse_args()


@contextmanager
def _cloud(options: argparse.Namespace, folder: Path) -> Iterator[Path]:
    """A new cloud in ``folder``, stopped at the end; gives its ``clouds.yaml``."""
    state = folder / "cloud"
    shutil.rmtree(state, ignore_errors=True)
    told = ["--state-dir", state, "--listen", options.listen, "--virt", options.virt, "--no-first-guest"]
    several = ["--hosts", str(options.hosts)] if options.virt == "fake" else []
    settings = os.environ | _settings(folder) | ({} if options.virt == "fake" else ONE_HOST)
    command = [sys.executable, "-m", "nova_async", "up", *told, *several]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=settings)
    try:
        _await_ready(process)
        yield state / "clouds.yaml"
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(STOP_SECONDS)


@contextmanager
def _lab(options: argparse.Namespace, folder: Path) -> Iterator[Path]:
    """Several hosts of the lab, with RabbitMQ and certificates; floating IPs are reached by way of the first host."""
    state = folder / "lab"
    environment = os.environ | _settings(folder) | {"LAB_STATE": str(state)}
    command = [sys.executable, "-m", "tests.lab"]
    try:
        subprocess.run([*command, "up", "--hosts", str(options.hosts), "--consoles", "vnc,spice,serial"], env=environment, check=True)
        subprocess.run(["ip", "route", "replace", Network().external_cidr, "via", hosts.address(1)], check=True)
        yield state / "clouds.yaml"
    finally:
        subprocess.run([*command, "down", "--keep"], env=environment)


def _settings(folder: Path) -> dict[str, str]:
    return SETTINGS | {"NOVA_ASYNC_IMAGE_CERTIFICATES_DIR": str(folder / CERTIFICATES)}


def _await_ready(process: "subprocess.Popen[str]") -> None:
    """Wait for the line that says so; a cloud that takes too long is killed, which ends its output."""
    assert process.stdout
    late = threading.Timer(READY_SECONDS, process.kill)
    late.start()
    try:
        if not any(line.startswith("ready") for line in process.stdout):
            sys.exit("The cloud did not start: see cloud/nova-async.log in the folder of the run.")
    finally:
        late.cancel()


def _test(options: argparse.Namespace, folder: Path, clouds: Path) -> int:
    workspace = folder / "workspace"
    if not (workspace / ".stestr.conf").exists():
        registry = ["--workspace-path", str(folder / "workspace.yaml")]
        subprocess.run([TOOLS / "tempest", "init", *registry, str(workspace)], check=True, stdout=subprocess.DEVNULL)
    guest = folder / "testguest" / testguest.IMAGE if options.virt == "libvirt" else None
    certificates = None if options.cloud else folder / CERTIFICATES
    asyncio.run(conf.write(workspace / "etc" / "tempest.conf", clouds, options.hosts, options.min_microversion, guest, certificates))
    environment = {**os.environ, "PATH": f"{TOOLS}:{os.environ['PATH']}"}
    if root := conf.authority(clouds):
        environment["SSL_CERT_FILE"] = root  # its test of noVNC opens the page with what the system trusts
    run = [TOOLS / "tempest", "run", "--regex", options.regex, "--concurrency", options.concurrency]
    subprocess.run(run, cwd=workspace, env=environment, stdout=subprocess.DEVNULL)
    last = subprocess.run([TOOLS / "stestr", "last", "--subunit"], cwd=workspace, env=environment, stdout=subprocess.PIPE)
    told = subprocess.run([TOOLS / "python", Path(__file__).with_name("results.py"), options.min_microversion], input=last.stdout)
    return told.returncode


if __name__ == "__main__":
    sys.exit(main())
