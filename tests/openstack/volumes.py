"""What holds for every volume service (``tests/volume/conformance.py``), and what Cinder begins by itself, told of a real Cinder."""

import asyncio
import time
from typing import TYPE_CHECKING, Any

from openstack.connection import Connection

from nova_async.config import Identity
from nova_async.context import Context
from nova_async.services.callers import CallersTokens
from nova_async.services.identity.remote import TokenSource
from nova_async.services.volume.remote import RemoteVolumes
from nova_async.world import RealWorld
from tests.openstack import cinder
from tests.openstack.services import PASSWORD
from tests.volume import conformance

if TYPE_CHECKING:
    from tests.openstack.conftest import Site

STORY_SECONDS = 180


def until_backends_are_known(admin: Connection) -> None:
    """Cinder's scheduler takes no volume for back ends that have not told yet what they have."""
    end = time.monotonic() + STORY_SECONDS
    while len(pools := list(admin.block_storage.backend_pools())) < len(cinder.SHARES):
        assert time.monotonic() < end, pools
        time.sleep(0.5)


def is_brought_elsewhere(site: "Site", volume_id: str) -> None:
    """Cinder migrates a volume in use, whose bytes our host copies: it keeps its id, and its server has it by another attachment."""
    admin = site.connect("admin", "admin")
    before, other = _migrate(admin, volume_id)
    backend = before.host.partition("#")[2]
    now = until_migrated(admin, volume_id)
    assert (now.status, now.host.partition("#")[2], _files(site, backend), len(_files(site, other))) == ("in-use", other, [], 1)
    [old], [new] = before.attachments, now.attachments
    assert (new["server_id"], new["device"]) == (old["server_id"], old["device"])
    assert new["attachment_id"] != old["attachment_id"]
    [held] = admin.compute.volume_attachments(new["server_id"])
    assert (held.volume_id, held.attachment_id) == (volume_id, new["attachment_id"])


def stays_where_it_is(site: "Site", volume_id: str) -> None:
    """Cinder hears that a migration failed, or that a server takes no part in it, and gives it up; nothing is left behind."""
    admin = site.connect("admin", "admin")
    known = _known(admin)
    before, _ = _migrate(admin, volume_id)
    end = time.monotonic() + STORY_SECONDS
    while (now := admin.block_storage.get_volume(volume_id)).migration_status != "error" or _known(admin) != known:
        assert time.monotonic() < end, now
        time.sleep(0.5)
    assert (now.status, now.host, now.attachments) == ("in-use", before.host, before.attachments)


def _migrate(admin: Connection, volume_id: str) -> tuple[Any, str]:
    """Begin it: the volume as it was before, and the back end to which it is to go."""
    before = admin.block_storage.get_volume(volume_id)
    service, _, backend = before.host.partition("#")
    other = next(name for name in cinder.SHARES if name != backend)
    admin.block_storage.migrate_volume(volume_id, host=f"{service.partition('@')[0]}@{other}#{other}")
    return before, other


def until_migrated(admin: Connection, volume_id: str) -> Any:
    """The volume once Cinder has migrated it, and removed what it was migrated from."""
    end = time.monotonic() + STORY_SECONDS
    while True:
        now = admin.block_storage.get_volume(volume_id)
        left = [each.id for each in admin.block_storage.volumes(all_projects=True) if each.migration_status == "deleting"]
        if now.migration_status == "success" and not left:
            return now
        assert now.migration_status != "error", now
        assert time.monotonic() < end, now
        time.sleep(0.5)


def _known(admin: Connection) -> set[str]:
    return {each.id for each in admin.block_storage.volumes(all_projects=True)}


def _files(site: "Site", backend: str) -> list[str]:
    return [path.name for path in cinder.folder_of(site.services.mounts, backend).iterdir() if path.name.startswith("volume-")]


def is_a_volume_service(site: "Site", user: Connection) -> None:
    asyncio.run(_tell(site, user))


async def _tell(site: "Site", user: Connection) -> None:
    world = RealWorld()
    tokens, callers = TokenSource(Identity(url=site.services.auth_url, username="nova", password=PASSWORD), world), CallersTokens(world)
    volumes = RemoteVolumes(site.services.url("volume"), tokens, world, callers)
    owner = Context(request_id="req-owner", user_id=str(user.current_user_id), project_id=str(user.current_project_id), roles=("member",))
    neighbor = Context(request_id="req-neighbor", user_id="n", project_id="f" * 32, roles=("member",))
    callers.remember(owner.request_id, str(user.session.get_token()))
    try:
        for story in conformance.ALL:
            place = conformance.Place(volumes, owner, neighbor, _nothing, hosts=("one", "two"))
            async with asyncio.timeout(STORY_SECONDS):
                await story(place)
    finally:
        await volumes.close()
        await tokens.close()


async def _nothing() -> None:
    """Cinder goes on by itself."""
