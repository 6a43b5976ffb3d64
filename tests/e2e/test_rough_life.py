"""What happens to a cloud in the hands of the impatient: races, restarts in the midst of work, and parts that go away."""

import asyncio
import os
import re
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from .running import ADMIN, BIN, UNLIMITED, Answer, RunningCloud, User, free_port, running_cloud

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@asynccontextmanager
async def sound_cloud(**environment: str) -> AsyncIterator[RunningCloud]:
    """A cloud whose books balance afterwards, with a clean log."""
    with running_cloud(hosts=3, **environment) as cloud:
        yield cloud
        async with cloud.user(ADMIN) as admin:
            servers = (await admin.get("/compute/v2.1/servers?all_tenants=1"))["servers"]
            await admin.settled([s["id"] for s in servers])
        cloud.is_consistent()
        assert cloud.stop() == 0
        cloud.has_a_clean_log()


async def test_many_at_once_never_get_more_than_the_quota() -> None:
    async with sound_cloud(NOVA_ASYNC_QUOTA_INSTANCES="7") as cloud, cloud.user() as user:
        image = (await user.get("/image/v2/images"))["images"][0]["id"]
        body = {"server": {"name": "one", "imageRef": image, "flavorRef": "1", "networks": "auto"}}
        answers = await asyncio.gather(*(user.try_to("POST", "/compute/v2.1/servers", body) for _ in range(40)))
        assert sorted(a.status for a in answers) == [202] * 7 + [403] * 33
        assert {next(iter(a.body)) for a in answers if a.status == 403} == {"forbidden"}
        servers = [a.body["server"]["id"] for a in answers if a.status == 202]
        assert {row and row["status"] for row in (await user.settled(servers)).values()} == {"ACTIVE"}
        addresses = [p["fixed_ips"][0]["ip_address"] for p in (await user.get("/network/v2.0/ports"))["ports"]]
        assert len(set(addresses)) == len(addresses) == 7
        deleted = await asyncio.gather(*(user.try_to("DELETE", f"/compute/v2.1/servers/{s}") for s in servers * 3))
        assert {a.status for a in deleted} <= {204, 404}
        for server in servers:
            await user.until(server, "GONE")
        used = (await user.get("/compute/v2.1/limits"))["limits"]["absolute"]
        assert (used["totalInstancesUsed"], used["totalCoresUsed"], used["totalRAMUsed"]) == (0, 0, 0)


async def test_a_server_may_be_deleted_and_told_anything_at_any_moment_of_its_building() -> None:
    async with sound_cloud(**UNLIMITED) as cloud, cloud.user() as user:

        async def hurried(i: int) -> str:
            server = await user.boot("hurried", networks="auto")
            await asyncio.sleep(i * 0.003)
            told = await user.try_to("POST", f"/compute/v2.1/servers/{server}/action", {("os-stop", "pause", "suspend")[i % 3]: None})
            assert told.status in (202, 409), told
            answer = await user.try_to("DELETE", f"/compute/v2.1/servers/{server}")
            assert answer.status == 204
            return server

        for server in await asyncio.gather(*(hurried(i) for i in range(40))):
            await user.until(server, "GONE")
        assert (await user.get("/network/v2.0/ports"))["ports"] == []


async def test_a_stop_in_the_midst_of_work_loses_nothing() -> None:
    async with sound_cloud(**UNLIMITED) as cloud:
        async with cloud.user() as user:
            servers = await asyncio.gather(*(user.boot("one", networks="auto") for _ in range(20)))
            doomed = servers[:5]
            await asyncio.gather(*(user.ask("DELETE", f"/compute/v2.1/servers/{s}") for s in doomed))
        cloud.restart()
        async with cloud.user() as user:
            found = await user.settled(servers)
            assert {s: row and row["status"] for s, row in found.items()} == dict.fromkeys(servers, "ACTIVE") | dict.fromkeys(doomed)


async def test_tokens_and_everything_else_outlive_a_restart() -> None:
    async with sound_cloud() as cloud, cloud.user() as user:
        server = await user.boot("one", networks="auto", metadata={"a": "b"}, tags=["t"], description="d", config_drive=True)
        before = await user.until(server, "ACTIVE")
        passwords = cloud.passwords()
        cloud.restart()
        assert cloud.passwords() == passwords
        assert await user.server(server) == before
        await user.act(server, "os-stop")
        await user.until(server, "SHUTOFF")


async def test_a_database_that_dies_is_told_of_and_comes_back() -> None:
    async with sound_cloud(**UNLIMITED) as cloud, cloud.user() as user:
        servers = [await user.boot("one") for _ in range(3)]
        await user.settled(servers)
        for _ in range(2):
            dead = postmaster(cloud)
            os.kill(dead, signal.SIGKILL)
            answers = [answer async for answer in until_it_works(user, cloud, dead)]
            assert {a.status for a in answers} <= {200, 503}, (answers, re.findall(r"request.crashed.*|.*Error.*", cloud.log_text())[:12])
            assert all(a.headers["Retry-After"] and a.body["serviceUnavailable"]["code"] == 503 for a in answers if a.status == 503)
        assert {row and row["status"] for row in (await user.settled(servers)).values()} == {"ACTIVE"}
        await user.until(await user.boot("another", networks="auto"), "ACTIVE")


async def until_it_works(user: User, cloud: RunningCloud, dead: int) -> AsyncIterator[Answer]:
    """Every answer until there is another database and a good one was given ten times."""
    end, good = time.monotonic() + 20, 0
    while good < 10:
        assert time.monotonic() < end
        answer = await user.try_to("GET", "/compute/v2.1/servers/detail")
        good = good + 1 if postmaster(cloud) not in (0, dead) and answer.status == 200 else 0
        yield answer
        await asyncio.sleep(0.01)


def postmaster(cloud: RunningCloud) -> int:
    """The process of the database, or 0."""
    try:
        return int((cloud.state / "postgres" / "data" / "postmaster.pid").read_text().split()[0])
    except (OSError, IndexError):
        return 0


async def test_a_second_one_on_the_same_state_or_port_is_refused_in_one_line() -> None:
    async with sound_cloud() as cloud:
        for state, listen in ((cloud.state, f"127.0.0.1:{free_port()}"), (cloud.state.with_name("other"), cloud.listen)):
            command = [str(BIN / "nova-async"), "up", "--virt", "fake", "--state-dir", str(state), "--listen", listen]
            done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60, cwd="/")
            assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done
            assert done.stderr.startswith("nova-async: ")
        async with cloud.user() as user:
            assert (await user.until(await user.boot("one"), "ACTIVE"))["status"] == "ACTIVE"
