"""What holds for every volume service (``tests/volume/conformance.py``), told of a real Cinder."""

import asyncio
from typing import TYPE_CHECKING

from openstack.connection import Connection

from nova_async.config import Identity
from nova_async.context import Context
from nova_async.services.callers import CallersTokens
from nova_async.services.identity.remote import TokenSource
from nova_async.services.volume.remote import RemoteVolumes
from nova_async.world import RealWorld
from tests.openstack.services import PASSWORD
from tests.volume import conformance

if TYPE_CHECKING:
    from tests.openstack.conftest import Site

STORY_SECONDS = 180


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
