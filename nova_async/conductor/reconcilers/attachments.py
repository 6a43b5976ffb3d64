"""Attachments of the built-in volume service that belong to no server any more are given back."""

from nova_async import log
from nova_async.context import service_context
from nova_async.db import Database, server_volumes
from nova_async.services.volume import VolumeService
from nova_async.world import World

logger = log.get("reconcile.attachments")
YOUNG_SECONDS = 60.0  # an operation on it may only be beginning


class AttachmentsReconciler:
    def __init__(self, database: Database, volumes: VolumeService, world: World) -> None:
        self.database, self.volumes, self.world = database, volumes, world

    async def __call__(self, young_seconds: float = YOUNG_SECONDS) -> None:
        async with self.database.connection() as conn:
            lost = await server_volumes.lost_attachments(conn, young_seconds)
        for one in lost:
            logger.warning("volume.attachment_lost", volume=one.volume_id, server=one.instance_id)
            await self.volumes.free(service_context("req-" + self.world.uuid()), one.id)
