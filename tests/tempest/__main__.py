"""``make tempest``: OpenStack's acceptance suite against ``nova-async up``, or against a cloud that runs already.

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

from nova_async.virt import testguest
from nova_async.world import RealWorld
from tests.tempest import conf

TOOLS = Path(".venv-tempest/bin").absolute()
READY_SECONDS, STOP_SECONDS = 120, 60
# Real guests live in namespaces of their own, with their network and daemons, and end with them. Needs root.
APART = ("unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", 'ip link set lo up && "$@"', "sh")

# What an operator would tell a cloud that Tempest is to be run against.
CLOUD = f"""\
[scheduler]
filters = {json.dumps(conf.FILTERS)}
[quota]
instances = 50
cores = 100
"""
ONE_HOST = """\
[compute]
allow_resize_to_same_host = true
"""


def main() -> int:
    options = _options()
    folder: Path = options.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    if options.virt == "libvirt" and not options.apart:
        asyncio.run(testguest.build(folder / "testguest", RealWorld(), install=True))
    if options.cloud:
        return _test(options, folder, options.cloud.absolute())
    if options.virt == "libvirt" and not options.apart:
        return subprocess.run([*APART, sys.executable, "-m", "tests.tempest", "--apart", *sys.argv[1:]]).returncode
    with _cloud(options, folder) as clouds:
        return _test(options, folder, clouds)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make tempest", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp/nova-async-tempest"))
    parser.add_argument("--cloud", type=Path, help="the clouds.yaml of a cloud that runs; without it one is started")
    parser.add_argument("--listen", default="127.0.0.1:8798")
    parser.add_argument("--virt", default="fake")
    parser.add_argument("--hosts", type=int, default=2, help="of the cloud; one that is started with real guests has one")
    parser.add_argument("--apart", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--regex", default=r"^tempest\.api\.compute")
    parser.add_argument("--min-microversion", default="2.1")
    parser.add_argument("--concurrency", default="2")
    return parser.parse_args()


@contextmanager
def _cloud(options: argparse.Namespace, folder: Path) -> Iterator[Path]:
    """A new cloud in ``folder``, stopped at the end; gives its ``clouds.yaml``."""
    state, settings = folder / "cloud", folder / "nova-async.toml"
    shutil.rmtree(state, ignore_errors=True)
    settings.write_text(CLOUD if options.virt == "fake" else CLOUD + ONE_HOST)
    told = ["--config", settings, "--state-dir", state, "--listen", options.listen, "--virt", options.virt, "--no-first-guest"]
    hosts = ["--hosts", str(options.hosts)] if options.virt == "fake" else []
    process = subprocess.Popen([sys.executable, "-m", "nova_async", "up", *told, *hosts], stdout=subprocess.PIPE, text=True)
    try:
        _await_ready(process)
        yield state / "clouds.yaml"
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(STOP_SECONDS)


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
    hosts = options.hosts if options.cloud or options.virt == "fake" else 1
    guest = folder / "testguest" / testguest.IMAGE if options.virt == "libvirt" else None
    asyncio.run(conf.write(workspace / "etc" / "tempest.conf", clouds, hosts, options.min_microversion, guest))
    environment = {**os.environ, "PATH": f"{TOOLS}:{os.environ['PATH']}"}
    run = [TOOLS / "tempest", "run", "--regex", options.regex, "--concurrency", options.concurrency]
    subprocess.run(run, cwd=workspace, env=environment, stdout=subprocess.DEVNULL)
    last = subprocess.run([TOOLS / "stestr", "last", "--subunit"], cwd=workspace, env=environment, stdout=subprocess.PIPE)
    told = subprocess.run([TOOLS / "python", Path(__file__).with_name("results.py"), options.min_microversion], input=last.stdout)
    return told.returncode


if __name__ == "__main__":
    sys.exit(main())
