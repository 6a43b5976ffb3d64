"""When a host's routers are to leave it, by a clock that stands still."""

from collections import Counter
from typing import Any

import msgspec
import pytest

from nova_async.conductor.reconcilers.router_hosts import RouterHosts
from nova_async.config import load
from nova_async.db.routers import Specified
from nova_async.scheduler.hosts import HostTable
from nova_async.world import SimulatedWorld
from tests.scheduler.hosts import row

NAMES = ("host1", "host2", "host3")


class Scene:
    """Three hosts that a process knows by their rows; ``RouterHosts`` looks every ten seconds."""

    def __init__(self, outside: str = "own", **network: Any) -> None:
        self.world = SimulatedWorld()
        self.table = HostTable(self.world, 30.0)
        self.table.load([row(name, facts={"outside": outside}) for name in NAMES])
        options = {f"network__{name}": value for name, value in network.items()}
        self.hosts = RouterHosts(load(None, {}, **options), self.table, self.world)

    def pass_by(self, seconds: int, *heard: str) -> list[str]:
        """So long only these report. The hosts that are to lose their routers then."""
        for _ in range(seconds // 10):
            for name in heard:
                self.table.heard(name)
            self.hosts.look(NAMES)
            self.world.advance(10)
        self.hosts.look(NAMES)
        return [name for name in NAMES if self.hosts.leave(name)]

    def force_down(self, name: str) -> None:
        self.table.load([msgspec.structs.replace(self.table.by_name[name].row, forced_down=True)])


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_host_loses_its_routers_after_the_delay_and_has_a_new_one_when_it_was_seen_between(scene: Scene) -> None:
    scene.pass_by(60, *NAMES)
    assert scene.pass_by(140, "host2", "host3") == []
    assert scene.pass_by(20, "host2", "host3") == ["host1"]
    assert scene.pass_by(20, *NAMES) == []
    assert scene.pass_by(140, "host2", "host3") == []


def test_a_process_that_was_just_started_waits_as_long_as_any(scene: Scene) -> None:
    assert scene.pass_by(140, "host2") == []
    assert scene.pass_by(20, "host2") == ["host1", "host3"]


def test_no_host_is_away_while_all_are(scene: Scene) -> None:
    scene.pass_by(60, *NAMES)
    assert scene.pass_by(600) == []
    assert scene.pass_by(110, "host3") == []  # the others have the whole delay to be heard
    assert scene.pass_by(40, "host3") == ["host1", "host2"]


def test_a_host_that_carries_no_routers_does_not_tell_that_the_others_are_away() -> None:
    scene = Scene(outside="")
    scene.pass_by(60, *NAMES)
    assert scene.pass_by(600, "host2") == []


def test_a_host_that_an_operator_forced_down_is_not_waited_for(scene: Scene) -> None:
    scene.pass_by(60, *NAMES)
    scene.force_down("host1")
    assert scene.pass_by(10, *NAMES) == ["host1"]


def test_with_no_delay_no_host_loses_its_routers() -> None:
    scene = Scene(router_failover_seconds=0)
    scene.pass_by(60, *NAMES)
    scene.force_down("host2")
    assert scene.pass_by(3600, "host3") == []


def test_a_gateway_host_is_waited_for_by_new_routers_and_takes_all_when_it_is_back() -> None:
    scene = Scene(gateway_host="host3")
    scene.pass_by(60, "host1", "host2")
    assert scene.hosts.choices(router(), Counter()) == ["host3"]
    assert scene.pass_by(120, "host1", "host2") == ["host3"]
    assert scene.hosts.choices(router(), Counter()) == ["host1", "host2"]
    assert scene.hosts.choices(router("host3"), Counter()) == ["host1", "host2"]
    assert scene.pass_by(10, *NAMES) == ["host1", "host2"]
    assert scene.hosts.choices(router("host1"), Counter()) == ["host3"]


def test_routers_stay_together_where_hosts_make_the_outside_and_spread_where_they_have_a_bridge_to_it() -> None:
    for kind, first in (("own", ["host2", "host3", "host1"]), ("bridge", ["host1", "host3", "host2"])):
        scene = Scene(kind)
        scene.pass_by(10, *NAMES)
        assert scene.hosts.choices(router(), Counter(host2=2, host3=1)) == first


def router(host: str = "") -> Specified:
    return Specified(id="r", project_id="p", admin_state_up=True, enable_snat=True, routes=[], host=host, ports=[], floating_ips=[])
