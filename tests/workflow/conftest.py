"""A small engine on a real database, with workflows that write down what they did."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from nova_async.context import Context
from nova_async.db import Database, workflows
from nova_async.workflow.engine import Engine
from nova_async.workflow.row import WorkflowRow
from nova_async.workflow.steps import Definition
from nova_async.world import World


class Bench:
    """Runs engines; ``log`` is where steps note what they do."""

    def __init__(self, database: Database, world: World) -> None:
        self.database, self.world = database, world
        self.log: list[str] = []
        self.ctx = Context(request_id="req-1", user_id="u", project_id="p")

    @asynccontextmanager
    async def engine(self, *definitions: Definition, process: str = "one", **options: object) -> AsyncIterator[Engine[object]]:
        options = {"poll_seconds": 0.05, "lease_seconds": 1.0, **options}
        engine: Engine[object] = Engine(self.database, list(definitions), self.world, process=process, **options)  # type: ignore[arg-type]
        task = asyncio.create_task(engine.run(self))
        await asyncio.sleep(0)
        try:
            yield engine
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def begin(self, engine: Engine[object], kind: str, subject: str | None = None, **input: object) -> tuple[str, str]:
        subject = subject or self.world.uuid()
        async with self.database.transaction() as conn:
            id = await engine.begin(conn, self.ctx, kind, subject, **input)
        engine.go([id])
        return id, subject

    async def row(self, id: str) -> WorkflowRow:
        async with self.database.connection() as conn:
            return await workflows.get(conn, id)

    async def until(self, holds: Callable[[], object], seconds: float = 10.0) -> None:
        async with asyncio.timeout(seconds):
            while not holds():
                await asyncio.sleep(0.01)


@pytest.fixture
def bench(database: Database, world: World) -> Bench:
    return Bench(database, world)
