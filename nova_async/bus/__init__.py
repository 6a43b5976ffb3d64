"""The message bus: one small interface, two implementations that both really encode.

``cast`` to one receiver, ``call`` for a short question, ``publish`` to whoever listens.
Targets are names such as ``conductor`` or ``compute.host1``; topics such as ``hosts``.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from nova_async.bus.dead_letters import DeadLetters
from nova_async.bus.messages import Message

Handler = Callable[[Message], Awaitable[Message | None]]


class Service(Protocol):
    """A handler that is being served; ``close`` stops taking messages and finishes those in hand."""

    async def close(self) -> None: ...


class Bus(Protocol):
    messages_sent: int  # casts, calls, publishes and replies since the start

    @property
    def dead_letters(self) -> DeadLetters: ...

    async def cast(self, target: str, message: Message) -> None:
        """Hand ``message`` to one server of ``target``; returns once the bus has it safe.

        A target that nobody serves yet keeps the message (bounded). Raises ``Unavailable``.
        """
        ...

    async def call(self, target: str, message: Message, *, timeout: float) -> Message:
        """Ask one server of ``target`` and wait at most ``timeout`` seconds for its answer.

        Raises ``Unavailable`` when none came, and the ``errors.Error`` that the handler raised.
        """
        ...

    async def publish(self, topic: str, message: Message) -> None:
        """Tell every subscriber of ``topic`` that is there now; nothing is kept for others."""
        ...

    async def notify(self, topic: str, notification: dict[str, Any]) -> None:
        """Hand a notification to consumers outside of this program. Raises ``Unavailable`` when nobody has it safe.

        Over AMQP it goes to the exchange of notifications under the routing key ``topic``, in the envelope of oslo.messaging 2.0,
        and must reach a queue; in process, subscribers of ``topic`` get a ``Notification``.
        """
        ...

    async def serve(self, target: str, handler: Handler, *, prefetch: int | None = None) -> Service:
        """Give each message for ``target`` to ``handler``; acknowledged after it returned.

        A handler that raises is tried again with back-off, at most ``max_tries`` times; then
        the message is parked in the dead letters. A handler must be safe to repeat.
        """
        ...

    async def subscribe(self, topic: str, handler: Handler) -> Service:
        """Give every message published on ``topic`` from now on to ``handler``."""
        ...

    async def close(self) -> None: ...
