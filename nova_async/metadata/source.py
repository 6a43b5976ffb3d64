"""Where the metadata service finds its servers: in their rows."""

import uuid

from nova_async.config import Config
from nova_async.db import Database, instances, placements
from nova_async.errors import Conflict, NotFound
from nova_async.metadata.documents import InstanceMetadata
from nova_async.metadata.instances import metadata_of
from nova_async.world import World


class DatabaseMetadata:
    """Implements ``metadata.service.MetadataSource``."""

    def __init__(self, database: Database, config: Config, world: World) -> None:
        self.database, self.config, self.world = database, config, world

    async def get(self, instance_id: str, project_id: str) -> InstanceMetadata:
        """Raises ``NotFound`` when there is no such live server in that project."""
        instance = None
        if _is_uuid(instance_id):
            async with self.database.connection() as conn:
                instance = await instances.get(conn, instance_id, project_id)
        if instance is None:
            raise NotFound(f"Instance {instance_id} could not be found.")
        return metadata_of(instance, None, instance.availability_zone or "", self.config, world=self.world)

    async def set_password(self, instance_id: str, text: str) -> None:
        async with self.database.connection() as conn:
            if not await placements.set_password(conn, instance_id, text):
                raise Conflict("A password was posted already.")


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
