"""Bare metal in this process: a worker for each node of an Ironic, as nodes come and go."""

import asyncio

from nova_async import log
from nova_async.bus import Bus
from nova_async.compute.journal import Journal
from nova_async.compute.worker import Worker
from nova_async.config import Config
from nova_async.virt.ironic.api import Ironic, Node
from nova_async.virt.ironic.driver import IronicDriver
from nova_async.virt.ironic.nodes import Nodes
from nova_async.world import World

logger = log.get("metal")


class Metal:
    """A node is a host under its UUID, which is also the host's identity: whichever process looks after it, it stays the same host."""

    def __init__(self, config: Config, world: World, bus: Bus, journal: Journal, ironic: Ironic, workers: list[Worker]) -> None:
        self._config, self._world, self._bus, self._journal, self._workers = config, world, bus, journal, workers
        self._nodes = Nodes(ironic, world, conductor_group=config.ironic.conductor_group or None)
        self._nodes.on_change = self._changed
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup

    async def run(self, serving: asyncio.Event) -> None:
        """Until cancelled. ``serving`` is set once the nodes that were there at the first look are hosts, or Ironic did not answer."""
        async with asyncio.TaskGroup() as self._group:
            await self._nodes.watch(self._config.ironic.look_seconds, self._come, self._gone, serving)

    async def _come(self, node: Node) -> None:
        driver = IronicDriver(self._nodes, node.uuid, self._world)
        worker = Worker(node.uuid, node.uuid, driver, self._bus, self._config, self._world, self._journal, address=self._config.own_address)
        self._workers.append(worker)
        ready = asyncio.Event()
        task = self._group.create_task(worker.run(ready), name=f"worker-{node.uuid}")
        await ready.wait()
        self._tasks[node.uuid] = task
        logger.info("node.is_a_host", node=node.uuid, name=node.name, state=node.provision_state)

    def _gone(self, uuid: str) -> None:
        self._workers[:] = [worker for worker in self._workers if worker.host != uuid]
        if task := self._tasks.pop(uuid, None):
            task.cancel()
        logger.warning("node.is_gone", node=uuid)

    def _changed(self, uuid: str) -> None:
        """Others can use the node now, or cannot any more: the scheduler shall know before the next look at the facts."""
        for worker in self._workers:
            if worker.host == uuid:
                worker.look.set()
