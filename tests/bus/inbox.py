"""Handlers that remember, and a way to wait for what should happen."""

import asyncio
from collections.abc import Callable

from nova_async.bus import Bus
from nova_async.bus.dead_letters import DeadLetter
from nova_async.bus.messages import Message
from nova_async.bus.messages.conductor import WorkflowReady

PATIENCE_SECONDS = 15.0


def work(number: int | str) -> WorkflowReady:
    return WorkflowReady(workflow_id=str(number))


class Inbox:
    """A handler that keeps what it was given, and fails the first ``failures`` times for each message."""

    def __init__(self, failures: int = 0, error: Exception | None = None, seconds: float = 0.0, answer: Message | None = None) -> None:
        self.seen: list[str] = []
        self.done: list[str] = []
        self.busy = 0
        self.busiest = 0
        self._failures = failures
        self._error = error or ValueError("no such luck")
        self._seconds = seconds
        self._answer = answer

    async def __call__(self, message: Message) -> Message | None:
        assert isinstance(message, WorkflowReady)
        self.seen.append(message.workflow_id)
        self.busy += 1
        self.busiest = max(self.busy, self.busiest)
        try:
            await asyncio.sleep(self._seconds)
        finally:
            self.busy -= 1
        if self.seen.count(message.workflow_id) <= self._failures:
            raise self._error
        self.done.append(message.workflow_id)
        return self._answer

    async def has(self, count: int) -> list[str]:
        """Wait until ``count`` messages were handled."""
        await until(lambda: len(self.done) >= count)
        return self.done


async def until(condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def letters_for(bus: Bus, target: str, count: int = 0) -> list[DeadLetter]:
    """The dead letters of one target, once there are at least ``count``."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            letters = [letter for letter in await bus.dead_letters.list() if letter.target == target]
            if len(letters) >= count:
                return letters
            await asyncio.sleep(0.05)
