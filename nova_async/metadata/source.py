"""Where the metadata service finds its servers: in their rows; where their devices are, their hosts say."""

import uuid

import msgspec

from nova_async import log
from nova_async.bus import Bus
from nova_async.bus.messages.compute import AddressesTold, GetAddresses
from nova_async.config import Config
from nova_async.db import Database, instances, placements
from nova_async.errors import Conflict, Error, NotFound
from nova_async.metadata.documents import InstanceMetadata
from nova_async.metadata.instances import metadata_of
from nova_async.model.instances import Instance
from nova_async.model.tagged_devices import DeviceAddress
from nova_async.world import World

ANSWER_SECONDS = 5.0  # of a host; the guest asks again for what it did not learn
logger = log.get("metadata")


class DatabaseMetadata:
    """Implements ``metadata.service.MetadataSource``."""

    def __init__(self, database: Database, bus: Bus, config: Config, world: World) -> None:
        self.database, self.bus, self.config, self.world = database, bus, config, world

    async def get(self, instance_id: str, project_id: str) -> InstanceMetadata:
        """Raises ``NotFound`` when there is no such live server in that project."""
        instance = None
        if _is_uuid(instance_id):
            async with self.database.connection() as conn:
                instance = await instances.get(conn, instance_id, project_id)
        if instance is None:
            raise NotFound(f"Instance {instance_id} could not be found.")
        metadata = metadata_of(instance, None, instance.availability_zone or "", self.config, world=self.world)
        if metadata.tagged and instance.host:
            metadata = msgspec.structs.replace(metadata, addresses=await self._addresses(instance))
        return metadata

    async def _addresses(self, instance: Instance) -> tuple[DeviceAddress, ...]:
        """None while the host does not answer."""
        try:
            told = await self.bus.call(f"compute.{instance.host}", GetAddresses(instance_id=instance.uuid), timeout=ANSWER_SECONDS)
        except Error as error:
            logger.warning("metadata.addresses_unknown", instance=instance.uuid, host=instance.host, error=error.message)
            return ()
        assert isinstance(told, AddressesTold)
        return told.addresses

    async def set_password(self, instance_id: str, text: str) -> None:
        async with self.database.connection() as conn:
            if not await placements.set_password(conn, instance_id, text):
                raise Conflict("A password was posted already.")


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
