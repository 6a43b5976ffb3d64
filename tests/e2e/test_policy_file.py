"""An operator changes who may do what while the service runs."""

import os
import signal
from pathlib import Path

import pytest

from .running import MEMBER, RunningCloud, User, running_cloud, until

pytestmark = pytest.mark.slow
NAME = "os_compute_api:servers:index"


async def answer(user: User) -> int:
    return (await user.try_to("GET", "/compute/v2.1/servers")).status


async def told_again(cloud: RunningCloud, event: str) -> None:
    """Send SIGHUP, and wait for one more line with this event."""
    assert cloud.process is not None
    before = cloud.log_text().count(event)
    os.kill(cloud.process.pid, signal.SIGHUP)
    await until(lambda: cloud.log_text().count(event) > before, 10, event)


async def test_a_policy_file_is_read_again_at_sighup_and_a_bad_one_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("{}")
    with running_cloud(hosts=1, NOVA_ASYNC_API_POLICY_FILE=str(file)) as cloud:
        async with cloud.user(MEMBER) as user:
            assert await answer(user) == 200
            file.write_text(f'"{NAME}": "role:admin"\n')
            assert await answer(user) == 200
            await told_again(cloud, "policy.reloaded")
            assert await answer(user) == 403

            file.write_text(f'"{NAME}": "role:admin or"\n')
            await told_again(cloud, "policy.refused")
            assert await answer(user) == 403
            file.unlink()
            await told_again(cloud, "policy.refused")
            assert await answer(user) == 403

            file.write_text(f'"{NAME}": "@"\n')
            await told_again(cloud, "policy.reloaded")
            assert await answer(user) == 200
        assert cloud.stop() == 0
