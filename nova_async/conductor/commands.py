"""Commands to hosts, and the wait for their outcome.

A command is cast to ``compute.<host>``; the worker casts ``CommandEnded`` back, and a sign of life at least every ten seconds.
A host that stays silent is told again: it answers a repeated command with what it did. One that is down fails the step.
"""

import asyncio
from typing import Any

from nova_async import errors, log
from nova_async.bus import Bus, Service
from nova_async.bus.messages import Message
from nova_async.bus.messages.compute import UNDO, Command, CommandEnded, CommandProgress, GuestList, ListGuests, Rebuild, Rescue, Snapshot
from nova_async.model.power import PowerState
from nova_async.scheduler.hosts import HostTable
from nova_async.workflow.run import Run
from nova_async.world import World

logger = log.get("conductor.commands")
LOOK_SECONDS = 2.0
HEAVY = (Rebuild, Rescue, Snapshot)  # what keeps a host busy without a claim


class HostDown(errors.Error):
    """The host's worker does not report any more."""


class _Waiting:
    def __init__(self, world: World) -> None:
        self.ended: asyncio.Future[CommandEnded] = asyncio.get_running_loop().create_future()
        self.sign = world.monotonic()


class HostCommands:
    """Sends commands on behalf of workflow steps. ``name`` is this process's name on the bus, the same after a restart."""

    def __init__(self, bus: Bus, hosts: HostTable, world: World, *, name: str, silence_seconds: float, down_seconds: float) -> None:
        self.bus, self.hosts, self.world, self.target = bus, hosts, world, f"conductor.{name}"
        self.silence_seconds, self.down_seconds = silence_seconds, down_seconds
        self.late = 0  # outcomes that nobody waited for
        self._waiting: dict[tuple[str, str, int], _Waiting] = {}
        self._started = world.monotonic()

    async def serve(self) -> Service:
        """Listen for outcomes; must be up before the engine runs."""
        return await self.bus.serve(self.target, self._heard, prefetch=512)

    async def run(
        self, run: Run[Any], host: str, kind: type[Command], *, generation: int, undo: bool = False, **fields: Any
    ) -> dict[str, Any]:
        """Let ``host`` do a command for the present step; returns its result.

        Raises the kind of error that the worker met, ``HostDown`` when the host is or goes down.
        """
        run.event_host = host
        if issubclass(kind, HEAVY) and (state := self.hosts.by_name.get(host)):
            self.hosts.began(run.id, state.row.id)
        command = kind(
            workflow_id=run.id,
            step=f"{UNDO}{run.step}" if undo else run.step,
            attempt=run.attempt,
            instance_id=run.subject_id,
            generation=generation,
            request_id=run.row.request_id,
            reply_to=self.target,
            **fields,
        )
        key = (command.workflow_id, command.step, command.attempt)
        waiting = self._waiting[key] = _Waiting(self.world)
        try:
            return _outcome(await self._until_ended(host, command, waiting))
        finally:
            del self._waiting[key]

    async def power_of(self, host: str, instance_id: str) -> PowerState | None:
        """What a guest is now; None when the host has no such guest. Raises ``HostDown``, ``Unavailable``."""
        await self._check_up(host)
        answer = await self.bus.call(f"compute.{host}", ListGuests(), timeout=10)
        assert isinstance(answer, GuestList)
        return next((PowerState(g.power_state) for g in answer.guests if g.instance_id == instance_id), None)

    async def _until_ended(self, host: str, command: Command, waiting: _Waiting) -> CommandEnded:
        if not command.stands:  # what stands waits for its host, however long that is down
            await self._check_up(host)
        await self.bus.cast(f"compute.{host}", command)
        while True:
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    return await asyncio.shield(waiting.ended)
            except TimeoutError:
                await self._check_up(host)
            if self.world.monotonic() - waiting.sign > self.silence_seconds:
                logger.warning("command.silence", host=host, command=type(command).__name__)
                waiting.sign = self.world.monotonic()
                await self.bus.cast(f"compute.{host}", command)

    async def _check_up(self, host: str) -> None:
        """A host that has not been heard since this process started gets the time to report first."""
        while not self.hosts.is_up(host):
            if self.hosts.last_seen(host) or self.world.monotonic() - self._started > self.down_seconds:
                raise HostDown("The server's host does not report any more.", detail=host)
            await self.world.sleep(0.1)

    async def _heard(self, message: Message) -> None:
        if not isinstance(message, CommandEnded | CommandProgress):
            raise errors.Invalid(f"{type(message).__name__} is nothing to tell a conductor process")
        waiting = self._waiting.get((message.workflow_id, message.step, message.attempt))
        if waiting is None:
            self.late += 1
        elif isinstance(message, CommandProgress):
            waiting.sign = self.world.monotonic()
        elif not waiting.ended.done():
            waiting.ended.set_result(message)


def _outcome(ended: CommandEnded) -> dict[str, Any]:
    if ended.error is None:
        return ended.result
    kind = getattr(errors, ended.error_kind, errors.Error)
    if not (isinstance(kind, type) and issubclass(kind, errors.Error)) or issubclass(kind, errors.Unavailable):
        kind = errors.Error  # an engine would repeat a step for Unavailable; here the host has tried already
    raise kind(ended.error, detail=ended.detail or None)
