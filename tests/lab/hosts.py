"""Hypervisor hosts on one machine: a network namespace each, joined by a bridge. Host ``i`` is 10.99.0.(10+i); we are 10.99.0.1."""

import subprocess
from pathlib import Path

BRIDGE = "labbr0"
OURS = "10.99.0.1"


def name(i: int) -> str:
    return f"labhost{i}"


def address(i: int) -> str:
    return f"10.99.0.{10 + i}"


def make(count: int) -> None:
    """Make bridge and namespaces that are not there yet."""
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    if not _runs("ip", "link", "show", BRIDGE):
        _do("ip", "link", "add", BRIDGE, "type", "bridge")
        _do("ip", "addr", "add", f"{OURS}/24", "dev", BRIDGE)
        _do("ip", "link", "set", BRIDGE, "up")
    known = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout.split()
    for i in range(1, count + 1):
        if name(i) not in known:
            _make_host(i)


def _make_host(i: int) -> None:
    host = name(i)
    _do("ip", "netns", "add", host)
    _do("ip", "link", "add", f"labv{i}", "type", "veth", "peer", "name", "eth0", "netns", host)
    _do("ip", "link", "set", f"labv{i}", "master", BRIDGE, "up")
    _do("ip", "-n", host, "link", "set", "lo", "up")
    _do("ip", "-n", host, "link", "set", "eth0", "up")
    _do("ip", "-n", host, "addr", "add", f"{address(i)}/24", "dev", "eth0")
    _do("ip", "-n", host, "route", "add", "default", "via", OURS)
    _do("ip", "netns", "exec", host, "sysctl", "-q", "-w", "net.ipv4.ip_forward=1")


def link(i: int, *, up: bool) -> None:
    """Plug host ``i`` in, or cut it off."""
    _do("ip", "link", "set", f"labv{i}", "up" if up else "down")


def remove() -> None:
    """End what still runs in the namespaces of the lab, and remove them and the bridge."""
    known = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout.splitlines()
    for host in [line.split()[0] for line in known if line.startswith("labhost")]:
        pids = subprocess.run(["ip", "netns", "pids", host], capture_output=True, text=True).stdout.split()
        for word in ("-TERM", "-KILL"):
            subprocess.run(["kill", word, *pids], capture_output=True)
        _runs("ip", "netns", "del", host)
    _runs("ip", "link", "del", BRIDGE)


def _do(*command: str) -> None:
    subprocess.run(command, check=True)


def _runs(*command: str) -> bool:
    return subprocess.run(command, capture_output=True).returncode == 0
