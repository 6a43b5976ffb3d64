"""Changes of state, handed to everybody who listens."""

import asyncio
from collections import deque
from typing import Self

from nova_async.virt.driver import GuestEvent

KEPT = 10_000  # events a slow listener may fall behind; older ones are dropped, the poll finds what they said


class Listener:
    """One reader's view: an asynchronous iterator that ends when the driver closes."""

    def __init__(self, source: "EventSource") -> None:
        self._source = source
        self._waiting: deque[GuestEvent] = deque(maxlen=KEPT)
        self._wake = asyncio.Event()
        self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> GuestEvent:
        while not self._waiting:
            if self._ended:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        return self._waiting.popleft()

    async def aclose(self) -> None:
        """Stop listening."""
        self._source.forget(self)
        self.end()

    def put(self, event: GuestEvent) -> None:
        self._waiting.append(event)
        self._wake.set()

    def end(self) -> None:
        self._ended = True
        self._wake.set()


class EventSource:
    """Use from the event loop's thread only."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []
        self._closed = False

    def listen(self) -> Listener:
        """Everything published from now on, even before the first ``anext``."""
        listener = Listener(self)
        if self._closed:
            listener.end()
        else:
            self._listeners.append(listener)
        return listener

    def publish(self, event: GuestEvent) -> None:
        for listener in self._listeners:
            listener.put(event)

    def forget(self, listener: Listener) -> None:
        if listener in self._listeners:
            self._listeners.remove(listener)

    def close(self) -> None:
        self._closed = True
        for listener in self._listeners:
            listener.end()
        self._listeners.clear()
