"""SIGHUP: an operator changes who may do what, and what is logged, while the service runs and people use it."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from nova_async.services.image.blank import blank_qcow2

from .running import ADMIN, MEMBER, RunningCloud, User, running_cloud, until

pytestmark = pytest.mark.slow
NAME = "os_compute_api:servers:index"


class Reloadable:
    """A cloud with its operator's files."""

    def __init__(self, cloud: RunningCloud, config: Path, policy: Path) -> None:
        self.cloud, self.config, self.policy = cloud, config, policy

    async def told(self, event: str) -> str:
        """Send SIGHUP, and wait for one more line with this event, which is the answer."""
        assert self.cloud.process is not None
        before = self._lines(event)
        os.kill(self.cloud.process.pid, signal.SIGHUP)
        await until(lambda: len(self._lines(event)) > len(before), 20, event)
        return self._lines(event)[-1]

    def _lines(self, event: str) -> list[str]:
        return [line for line in self.cloud.log_text().splitlines() if event in line]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reloadable]:
    folder = tmp_path_factory.mktemp("operator")
    config, policy = folder / "nova-async.toml", folder / "policy.yaml"
    policy.write_text("{}")
    config.write_text(f'[api]\npolicy_file = "{policy}"\n')
    with running_cloud("--config", str(config), hosts=1) as cloud:
        yield Reloadable(cloud, config, policy)
        assert cloud.stop() == 0
        cloud.has_a_clean_log()


@pytest.fixture
def reloadable(running: Reloadable) -> Reloadable:
    """With no overrides, and the usual log."""
    running.policy.write_text("{}")
    running.config.write_text(f'[api]\npolicy_file = "{running.policy}"\n')
    return running


async def answer(user: User, path: str = "/compute/v2.1/servers") -> int:
    return (await user.try_to("GET", path)).status


async def test_a_policy_file_is_read_again_and_a_bad_one_is_refused_by_the_rules_name(reloadable: Reloadable) -> None:
    file = reloadable.policy
    async with reloadable.cloud.user(MEMBER) as user:
        await reloadable.told("policy.reloaded")
        assert await answer(user) == 200
        file.write_text(f'"{NAME}": "role:admin"\n')
        assert await answer(user) == 200
        await reloadable.told("policy.reloaded")
        assert await answer(user) == 403

        file.write_text(f'"{NAME}": "role:admin or"\n')
        assert f"the rule of {NAME} is not understood" in await reloadable.told("policy.refused")
        assert await answer(user) == 403
        file.write_text(f'"{NAME}": "@"\n"os_compute_api:servers:show": "rule:friends"\n')
        assert "os_compute_api:servers:show asks for rule:friends" in await reloadable.told("policy.refused")
        assert await answer(user) == 403
        file.unlink()
        await reloadable.told("policy.refused")
        assert await answer(user) == 403

        file.write_text(f'"{NAME}": "@"\n')
        await reloadable.told("policy.reloaded")
        assert await answer(user) == 200


async def test_rules_of_ones_own_and_old_names_open_what_was_closed(reloadable: Reloadable) -> None:
    hypervisors = "/compute/v2.1/os-hypervisors"
    async with reloadable.cloud.user(MEMBER) as user, reloadable.cloud.user(ADMIN) as admin:
        await reloadable.told("policy.reloaded")
        assert (await answer(user, hypervisors), await answer(admin, hypervisors)) == (403, 200)
        reloadable.policy.write_text(
            f'"watchers": "project_id:{user.project} and not role:admin"\n"os_compute_api:os-hypervisors": "rule:watchers"\n'
        )
        assert "os_compute_api:os-hypervisors" in await reloadable.told("policy.renamed")
        assert (await answer(user, hypervisors), await answer(admin, hypervisors)) == (200, 403)


async def test_the_log_level_is_read_again_and_a_bad_one_is_refused(reloadable: Reloadable) -> None:
    config, good = reloadable.config, reloadable.config.read_text()
    await reloadable.told("policy.reloaded")
    config.write_text(good + '[log]\nlevel = "error"\n')
    reloadable.policy.write_text('"x": 1')
    await reloadable.told("policy.refused")
    reloadable.policy.write_text("{}")
    seen = reloadable.cloud.log_text().count("policy.reloaded")
    config.write_text(good + '[log]\nlevel = "loud"\n')
    assert "log.level" in await reloadable.told("configuration.refused")
    assert reloadable.cloud.log_text().count("policy.reloaded") == seen  # still only errors
    config.write_text(good)
    await reloadable.told("policy.reloaded")


async def test_nobody_who_is_being_served_notices(reloadable: Reloadable) -> None:
    """A request that is half sent, a console, and a connection that is kept are all as before."""
    halfway, go_on = asyncio.Event(), asyncio.Event()
    data = blank_qcow2(1)

    async def slowly() -> AsyncIterator[bytes]:
        yield data[:100]
        halfway.set()
        await go_on.wait()
        yield data[100:]

    async with reloadable.cloud.user(MEMBER) as user:
        server = await user.boot("one")
        await user.until(server, "ACTIVE")
        wanted = {"remote_console": {"protocol": "serial", "type": "serial"}}
        opened = await user.ask("POST", f"/compute/v2.1/servers/{server}/remote-consoles", wanted)
        address = opened["remote_console"]["url"].replace("http:", "ws:")
        console = await user.session.ws_connect(address, protocols=("binary",), origin=reloadable.cloud.url)
        await until_said(console, b"login: ")
        image = await user.ask("POST", "/image/v2/images", {"name": "slow", "disk_format": "qcow2", "container_format": "bare"})
        upload = asyncio.create_task(
            user.try_to("PUT", f"/image/v2/images/{image['id']}/file", data=slowly(), headers={"Content-Type": "application/octet-stream"})
        )
        await asyncio.wait_for(halfway.wait(), 10)
        made = []
        watch = aiohttp.TraceConfig()
        watch.on_connection_create_end.append(lambda *_: note(made))
        async with aiohttp.ClientSession(trace_configs=[watch], headers={"X-Auth-Token": user.token}) as kept:
            for _ in range(3):
                async with kept.get(f"{user.url}/compute/v2.1/limits") as response:
                    assert response.status == 200
                    await response.read()
                await reloadable.told("policy.reloaded")
        assert len(made) == 1
        await console.send_bytes(b"root\r")
        await until_said(console, b"root")
        go_on.set()
        assert (await upload).status == 204
        assert (await user.get(f"/image/v2/images/{image['id']}"))["status"] == "active"
        await console.close()
        await user.ask("DELETE", f"/compute/v2.1/servers/{server}")
        await user.until(server, "GONE")


async def note(made: list[None]) -> None:
    made.append(None)


async def until_said(console: aiohttp.ClientWebSocketResponse, words: bytes) -> None:
    seen = b""
    async with asyncio.timeout(20):
        while words not in seen:
            seen += await console.receive_bytes()
