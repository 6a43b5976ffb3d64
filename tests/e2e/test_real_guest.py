"""A real guest under QEMU, from the first ``nova-async up`` until nothing is left of it."""

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .running import ADMIN, OpenStack, RealHost, RunningCloud, open_to_others, real_cloud

pytestmark = [pytest.mark.libvirt, pytest.mark.qemu, pytest.mark.slow, pytest.mark.xdist_group("qemu"), pytest.mark.timeout(600)]

BOOT_SECONDS = 150


@pytest.fixture
def real(real_guests_can_run: None, test_guest: Path) -> Iterator[tuple[RunningCloud, RealHost]]:
    with real_cloud(test_guest) as (cloud, host):
        yield cloud, host


class Guest:
    """The server ``first``, seen from the outside and over ssh."""

    def __init__(self, cloud: RunningCloud, host: RealHost, address: str) -> None:
        self.cloud, self.host, self.address = cloud, host, address

    def pid(self) -> int:
        """The one QEMU process of the host."""
        [pid] = self.host.processes("qemu-system")
        return pid

    def ssh(self, command: str) -> str:
        options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "ConnectTimeout=5", "BatchMode=yes"]
        words = [word for option in options for word in ("-o", option)]
        key = str(self.cloud.state / "first-key")
        line = [*self.host.inside, "ssh", "-i", key, *words, f"root@{self.address}", command]
        try:
            done = subprocess.run(line, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired as error:  # its connection was cut in the middle
            return f"FAILED {error}"
        return done.stdout.strip() if done.returncode == 0 else f"FAILED {done.stderr}"

    def boots(self) -> int:
        """How often it has booted from its disk; waits until it can be asked."""
        return self._number("cat /data/boots")

    def ticks(self) -> int:
        """Grows five times a second while the guest runs, from its boot on."""
        return self._number("cat /run/ticks")

    def _number(self, command: str) -> int:
        end = time.monotonic() + BOOT_SECONDS
        while not (said := self.ssh(command)).isdigit():
            assert time.monotonic() < end, said
            time.sleep(0.5)
        return int(said)


def test_a_real_guest_lives_through_everything_and_leaves_nothing_behind(real: tuple[RunningCloud, RealHost]) -> None:
    cloud, host = real
    cloud.start()
    login = cloud.wait_for("log in:", 240)
    guest = Guest(cloud, host, login.rpartition("@")[2])
    with cloud.openstack() as openstack:
        server = openstack.show("server show first")
        found_its_surroundings(openstack("console log show first"), server["id"], guest.address)
        assert guest.ssh("hostname; whoami").split() == ["first", "root"]
        assert guest.boots() == 1
        asks_and_renews_by_hand(cloud, guest)
        is_cut_off_while_its_port_is_down(openstack, guest)
        outside = is_reached_by_a_floating_ip(openstack, cloud, host)
        lives_through_the_end_of_the_cloud(cloud, guest)
        assert outside.ssh("hostname") == "first"
        can_be_frozen_and_saved(openstack, guest)
        brought = str(cloud.state / "testguest")  # made before, for all tests
        assert [path for path in open_to_others(cloud.state) if not path.startswith(brought)] == []  # SEC-015
        can_be_rebooted_and_switched_off(openstack, guest)
        openstack("server delete --wait first")
        openstack(f"floating ip delete {outside.address}")
    with cloud.openstack(ADMIN) as openstack:
        openstack("router remove subnet router private-subnet")
        openstack("router delete router")
    leaves_nothing(cloud, host)


def found_its_surroundings(console: str, server: str, address: str) -> None:
    """By DHCP, the metadata service and the config drive, each told of in a line."""
    [shown] = re.findall(r"TESTGUEST net eth0 mac=\S+ ip=([\d.]+)/\d+ gw=[\d.]+ mtu=\d+", console)
    assert shown == address
    assert f"TESTGUEST metadata-http uuid={server} ec2id=i-" in console
    assert re.search(rf"TESTGUEST config-drive dev=\w+ type=(iso9660|vfat) uuid={server}", console), console
    assert re.search(rf"TESTGUEST smbios manufacturer=\S+ product=\S+ serial={server} uuid={server}", console)
    assert "TESTGUEST sshkeys n=1" in console


def asks_and_renews_by_hand(cloud: RunningCloud, guest: Guest) -> None:
    """As acceptance tests do it: curl, and a signal to udhcpc, whose renewal brings what the subnet has now."""
    url, password = "http://169.254.169.254/latest/meta-data", "http://169.254.169.254/openstack/2013-10-17/password"
    assert guest.ssh("curl -V").startswith("curl ")
    assert guest.ssh(f"curl {url}/local-ipv4") == guest.address
    assert guest.ssh(f"curl -sS -m 20 -o /tmp/told {url}/instance-id; cat /tmp/told").startswith("i-")
    assert guest.ssh(f"curl {url}/nothing").startswith("FAILED")
    assert guest.ssh(f"curl -X POST -d secret-of-the-guest {password}; curl {password}") == "secret-of-the-guest"
    with cloud.openstack(ADMIN) as openstack:
        openstack("subnet set --dns-nameserver 9.8.7.6 private-subnet")
        end = time.monotonic() + 60
        while guest.ssh("cat /etc/resolv.conf") != "nameserver 9.8.7.6":
            assert time.monotonic() < end
            assert not guest.ssh("sudo /bin/kill -USR1 $(cat /var/run/udhcpc.eth0.pid)").startswith("FAILED")
            time.sleep(2)
        openstack("subnet unset --dns-nameserver 9.8.7.6 private-subnet")


def is_cut_off_while_its_port_is_down(openstack: OpenStack, guest: Guest) -> None:
    [port] = openstack.show("port list --server first")
    ticks = guest.ticks()
    openstack(f"port set --disable {port['ID']}")
    is_out_of_reach(guest)
    assert openstack.show(f"port show {port['ID']}")["status"] == "DOWN"
    openstack(f"port set --enable {port['ID']}")
    assert guest.ticks() > ticks
    assert guest.boots() == 1
    assert openstack.show(f"port show {port['ID']}")["status"] == "ACTIVE"


def is_reached_by_a_floating_ip(openstack: OpenStack, cloud: RunningCloud, host: RealHost) -> Guest:
    """By ssh, for as long as it has it, and again; returns the guest as it is seen there."""
    address = openstack.show("floating ip create public")["floating_ip_address"]
    outside = Guest(cloud, host, address)
    assert outside.ssh("true").startswith("FAILED")
    openstack(f"server add floating ip first {address}")
    shows_addresses(openstack, lambda shown: address in shown)
    openstack("security group rule create --protocol tcp --dst-port 22 default")
    assert outside.boots() == 1
    openstack(f"server remove floating ip first {address}")
    is_out_of_reach(outside)
    shows_addresses(openstack, lambda shown: address not in shown)
    openstack(f"server add floating ip first {address}")
    assert outside.boots() == 1
    end = time.monotonic() + 60  # what the metadata service told before, it may tell a while
    while outside.ssh("curl -s http://169.254.169.254/latest/meta-data/public-ipv4").strip() != address:
        assert time.monotonic() < end
        time.sleep(1)
    return outside


def shows_addresses(openstack: OpenStack, right: Callable[[str], bool], seconds: float = 20) -> None:
    """The network service tells of changes after it has answered."""
    end = time.monotonic() + seconds
    while not right(str(openstack.show("server show first")["addresses"])):
        assert time.monotonic() < end


def is_out_of_reach(guest: Guest, seconds: float = 20) -> None:
    """Its host is told by a message of its own."""
    end = time.monotonic() + seconds
    while not guest.ssh("true").startswith("FAILED"):
        assert time.monotonic() < end


def lives_through_the_end_of_the_cloud(cloud: RunningCloud, guest: Guest) -> None:
    """Stopped, then killed: the guest knows nothing of it, and is found again."""
    pid, ticks = guest.pid(), guest.ticks()
    assert cloud.stop() == 0
    assert guest.ticks() > ticks
    cloud.start()
    assert guest.pid() == pid
    cloud.kill9()
    cloud.start()
    assert guest.pid() == pid
    assert guest.ticks() > ticks
    assert guest.boots() == 1
    cloud.wait_for("is there from an earlier run", 20)
    with cloud.openstack() as openstack:
        assert openstack.show("server show first")["status"] == "ACTIVE"


def can_be_frozen_and_saved(openstack: OpenStack, guest: Guest) -> None:
    reaches(openstack, "server pause first", "PAUSED")
    assert guest.ssh("true").startswith("FAILED")
    reaches(openstack, "server unpause first", "ACTIVE")
    ticks = guest.ticks()
    reaches(openstack, "server suspend first", "SUSPENDED")
    assert guest.host.processes("qemu-system") == []
    reaches(openstack, "server resume first", "ACTIVE")
    assert guest.ticks() > ticks, "it has booted anew"


def can_be_rebooted_and_switched_off(openstack: OpenStack, guest: Guest) -> None:
    reaches(openstack, "server reboot --soft first", "ACTIVE")
    assert guest.boots() == 2
    pid = guest.pid()
    reaches(openstack, "server reboot --hard first", "ACTIVE")
    assert guest.pid() != pid
    assert guest.boots() == 3
    guest.ssh("poweroff")
    switched_off = time.monotonic()
    reaches(openstack, "server show first", "SHUTOFF")
    assert time.monotonic() - switched_off < 20
    reaches(openstack, "server start first", "ACTIVE")
    assert guest.boots() == 4
    reaches(openstack, "server stop first", "SHUTOFF")
    assert guest.host.processes("qemu-system") == []
    assert openstack("console log show first").count("TESTGUEST powerbutton") == 2  # by the soft reboot and by stop
    reaches(openstack, "server start first", "ACTIVE")


def leaves_nothing(cloud: RunningCloud, host: RealHost) -> None:
    uri = f"qemu+unix:///system?socket={cloud.state}/libvirt/run/libvirt-sock"
    done = subprocess.run(["virsh", "-c", uri, "list", "--all", "--name"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.split()) == (0, [])
    assert host.processes("qemu-system") == host.processes("dnsmasq") == []
    end = time.monotonic() + 20
    while host.links():  # the router's host is told by a message of its own
        assert time.monotonic() < end, host.links()
        time.sleep(0.2)
    assert not re.search(r"\b(tap|na[0-9a-f]{6})", host.rules()), host.rules()
    assert list((cloud.state / "instances").iterdir()) == []
    assert list((cloud.state / "plugging" / "servers").iterdir()) == []
    assert not list(cloud.state.rglob("*.part"))
    cloud.is_consistent()
    cloud.has_a_clean_log()


def reaches(openstack: OpenStack, command: str, status: str, seconds: float = 100) -> None:
    """Give the command and wait for the status, with no operation open."""
    openstack(command)
    end = time.monotonic() + seconds
    while True:
        server = openstack.show("server show first")
        if (server["status"], server["OS-EXT-STS:task_state"]) == (status, None):
            return
        assert server["status"] != "ERROR", server
        assert time.monotonic() < end, (command, server["status"], server["OS-EXT-STS:task_state"])
        time.sleep(0.3)
