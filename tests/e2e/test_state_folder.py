"""What other users of the machine can do with a cloud's files: nothing, whatever its umask was and whatever was there before."""

import os
import stat
from collections.abc import Iterator

import pytest

from .running import RunningCloud, open_to_others, state_folder

pytestmark = [pytest.mark.timeout(180), pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")]


@pytest.fixture
def cloud() -> Iterator[RunningCloud]:
    """One that has not started."""
    with state_folder() as state:
        cloud = RunningCloud(state, "--virt", "fake", "--hosts", "2", "--no-first-guest", prefix=("sh", "-c", 'umask 0; exec "$@"', "sh"))
        try:
            yield cloud
        finally:
            cloud.remove()


async def test_no_file_of_a_cloud_is_open_to_others(cloud: RunningCloud) -> None:
    """SEC-015: under umask 000, in folders that stood open, after servers, images and volumes came and went."""
    for name in ("images", "volumes"):
        (cloud.state / name).mkdir(parents=True)
        (cloud.state / name).chmod(0o777)
    cloud.state.chmod(0o777)
    (cloud.state / "secrets.json").write_text("{}")
    (cloud.state / "secrets.json").chmod(0o666)
    assert len(open_to_others(cloud.state)) == 4  # the test sees what is open
    cloud.start()
    async with cloud.user() as user:
        server = await user.boot("one")
        await user.until(server, "ACTIVE")
        await user.act(server, "createImage", {"name": "picture"})
        await user.until(server, "ACTIVE")
        volume = await user.ask("POST", f"/volume/v3/{user.project}/volumes", {"volume": {"size": 1}})
        assert volume["volume"]["id"]
        await user.act(server, "shelve")
        await user.until(server, "SHELVED_OFFLOADED")
        assert open_to_others(cloud.state) == []
        await user.ask("DELETE", f"/compute/v2.1/servers/{server}")
        await user.until(server, "GONE")
    assert open_to_others(cloud.state) == []
    assert stat.S_IMODE(cloud.state.stat().st_mode) & 0o077 == 0o011


@pytest.mark.parametrize(("name", "kind"), [("images", "folder"), ("certs", "link"), ("postgres", "folder"), ("secrets.json", "link")])
def test_what_somebody_else_put_there_is_not_taken_for_ours(cloud: RunningCloud, name: str, kind: str) -> None:
    """SEC-015: folders and links that were made before the first start."""
    cloud.state.mkdir()
    cloud.state.chmod(0o777)
    aim = cloud.state.parent / "aim"
    aim.mkdir()
    before = aim.stat()
    if kind == "folder":
        (cloud.state / name).mkdir()
    else:
        (cloud.state / name).symlink_to(aim)
    os.lchown(cloud.state / name, 1234, 1234)
    cloud.launch()
    assert cloud.process is not None
    assert cloud.process.wait(60) == 1
    assert f"{cloud.state / name} belongs to another user (1234): remove it" in cloud.output.read_text()
    assert (list(aim.iterdir()), aim.stat().st_mode) == ([], before.st_mode)


def test_a_state_folder_of_somebody_else_is_not_used(cloud: RunningCloud) -> None:
    """SEC-015."""
    cloud.state.mkdir()
    os.chown(cloud.state, 1234, 1234)
    cloud.launch()
    assert cloud.process is not None
    assert cloud.process.wait(60) == 1
    assert f"{cloud.state} belongs to another user" in cloud.output.read_text()
    assert list(cloud.state.iterdir()) == []
