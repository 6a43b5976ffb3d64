"""What a new cloud needs before the first request: the schema, and the usual flavors."""

from typing import Any

from nova_async.db import Database, Query
from nova_async.db.migrations import migrate as migrate_schemas
from nova_async.errors import Unavailable, plain
from nova_async.world import World

USUAL_FLAVORS = (  # id, name, memory in MiB, vcpus, root disk in GiB: DevStack's, which every tutorial names
    ("1", "m1.tiny", 512, 1, 1),
    ("2", "m1.small", 2048, 1, 20),
    ("3", "m1.medium", 4096, 2, 40),
    ("4", "m1.large", 8192, 4, 80),
    ("5", "m1.xlarge", 16384, 8, 160),
    ("42", "m1.nano", 192, 1, 1),
    ("84", "m1.micro", 256, 1, 1),
)
USUAL = Query[Any]("bootstrap", "usual_flavors")
PATIENCE = 30.0


async def migrate(url: str, world: World) -> None:
    """Bring the schema up to date; a database that is still starting gets half a minute. Raises ``Unavailable``."""
    end = world.monotonic() + PATIENCE
    while True:
        try:
            await migrate_schemas(url)
            return
        except (OSError, Unavailable) as error:
            if world.monotonic() > end:
                raise Unavailable("The database does not answer.", detail=plain(error)) from None
        await world.sleep(0.5)


async def flavors(database: Database) -> None:
    async with database.connection() as conn:
        await USUAL.run(conn, *map(list, zip(*USUAL_FLAVORS, strict=True)))
