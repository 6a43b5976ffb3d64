"""The whole cloud in one process: its own database is made while the rest of the program is loaded, which takes as long."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING

from nova_async.config import Config
from nova_async.db.embedded import starting
from nova_async.world import World

if TYPE_CHECKING:
    from nova_async.app import App


@asynccontextmanager
async def serving(config: Config, world: World, say: Callable[[str], None]) -> AsyncIterator["App"]:
    """All parts, serving inside the block. Raises what keeps them from starting."""
    async with AsyncExitStack() as stack:
        postgres = None if config.database.url else await stack.enter_async_context(starting(config.state / "postgres", world))
        app = await asyncio.to_thread(import_module, "nova_async.app")
        yield await stack.enter_async_context(app.running(config, world, say=say, postgres=postgres))
