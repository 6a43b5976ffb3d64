"""The bus of one process. Every message is encoded and decoded, so that nothing works here that fails over AMQP."""

import asyncio
from collections import deque
from typing import Any

from nova_async import log
from nova_async.bus import Handler, Service
from nova_async.bus.dead_letters import DeadLetter, LocalDeadLetters, type_of
from nova_async.bus.delivery import (
    CAST_SECONDS,
    WAITING_LIMIT,
    Hands,
    checked,
    failed,
    log_failure,
    raised,
    reason,
    retry_delay,
    sealed,
    within,
)
from nova_async.bus.messages import Done, Failed, Message, Notification, decode, encode
from nova_async.errors import Invalid, Unavailable
from nova_async.world import World

_log = log.get("bus")


class LocalBus:
    """Targets and topics as bounded queues in memory; a handler starts as soon as it may, without a pump."""

    def __init__(self, world: World, *, prefetch: int = 64, max_tries: int = 5, limit: int = WAITING_LIMIT) -> None:
        self.messages_sent = 0
        self.dead_letters = LocalDeadLetters(self.send_frame)
        self._world = world
        self._prefetch = prefetch
        self._max_tries = max_tries
        self._limit = limit
        self._work: dict[str, _Lane] = {}
        self._calls: dict[str, _Lane] = {}
        self._topics: dict[str, list[_Subscription]] = {}
        self._retries: set[asyncio.Task[None]] = set()
        self._closed = False

    async def cast(self, target: str, message: Message) -> None:
        await self.send_frame(target, sealed(message))

    async def send_frame(self, target: str, frame: bytes) -> None:
        """Cast what is encoded already, readable or not."""
        self._refuse_when_closed()
        await self._put(self._lane(self._work, target), _Parcel(checked(frame)))
        self.messages_sent += 1

    async def call(self, target: str, message: Message, *, timeout: float) -> Message:
        self._refuse_when_closed()
        parcel = _Parcel(sealed(message), asyncio.get_running_loop().create_future())
        try:
            frame = await within(self._world, timeout, self._ask(target, parcel))
        except (TimeoutError, ConnectionAbortedError):
            raise Unavailable(f"{target} did not answer {type(message).__name__} within {timeout:g} s.") from None
        answer = decode(frame)
        if isinstance(answer, Failed):
            raise raised(answer)
        return answer

    async def publish(self, topic: str, message: Message) -> None:
        self._refuse_when_closed()
        frame = sealed(message)
        self.messages_sent += 1
        for subscription in self._topics.get(topic, ()):
            subscription.take(frame)

    async def notify(self, topic: str, notification: dict[str, Any]) -> None:
        await self.publish(topic, Notification(body=notification))

    async def serve(self, target: str, handler: Handler, *, prefetch: int | None = None) -> "_Served":
        self._refuse_when_closed()
        lanes = (self._lane(self._work, target), self._lane(self._calls, target))
        return _Served([_Receiver(self, lane, handler, prefetch or self._prefetch) for lane in lanes])

    async def subscribe(self, topic: str, handler: Handler) -> "_Subscription":
        self._refuse_when_closed()
        subscriptions = self._topics.setdefault(topic, [])
        subscription = _Subscription(self._world, topic, handler, self._prefetch, self._limit, subscriptions)
        subscriptions.append(subscription)
        return subscription

    async def close(self) -> None:
        """Finish what is in hand; what still waits is gone."""
        self._closed = True
        for retry in self._retries:
            retry.cancel()
        services: list[Service] = [receiver for lane in (*self._work.values(), *self._calls.values()) for receiver in lane.receivers]
        services += [subscription for subscriptions in self._topics.values() for subscription in subscriptions]
        await asyncio.gather(*(service.close() for service in services))

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise Unavailable("The bus is closed.")

    def _lane(self, lanes: "dict[str, _Lane]", target: str) -> "_Lane":
        lane = lanes.get(target)
        if lane is None:
            lane = lanes[target] = _Lane(target)
        return lane

    async def _ask(self, target: str, parcel: "_Parcel") -> bytes:
        await self._put(self._lane(self._calls, target), parcel)
        self.messages_sent += 1
        assert parcel.answer is not None
        return await parcel.answer

    async def _put(self, lane: "_Lane", parcel: "_Parcel") -> None:
        while lane.kept >= self._limit:
            await self._wait_for_room(lane)
        lane.waiting.append(parcel)
        self._hand_out(lane)

    async def _wait_for_room(self, lane: "_Lane") -> None:
        lane.room.clear()
        try:
            await within(self._world, CAST_SECONDS, lane.room.wait())
        except TimeoutError:
            raise Unavailable(f"{self._limit} messages wait for {lane.target} already. Try again later.") from None

    def _hand_out(self, lane: "_Lane") -> None:
        """Start as many waiting messages as there are free hands, oldest first."""
        while lane.waiting and (receiver := lane.free_receiver()) is not None:
            parcel = lane.waiting.popleft()
            if parcel.answer is None or not parcel.answer.done():
                receiver.hands.start(self._attend(lane, receiver, parcel))
        if lane.kept < self._limit:
            lane.room.set()

    async def _attend(self, lane: "_Lane", receiver: "_Receiver", parcel: "_Parcel") -> None:
        try:
            message = decode(parcel.frame)
        except Invalid as error:
            self._give_up(lane, parcel, error)
            return
        try:
            answer = await receiver.hands.attempt(receiver.handler, message)
        except asyncio.CancelledError:
            lane.waiting.appendleft(parcel)
            raise
        except Exception as error:
            self._not_handled(lane, parcel, error)
        else:
            self._reply(parcel, answer or Done())

    def _not_handled(self, lane: "_Lane", parcel: "_Parcel", error: Exception) -> None:
        parcel.tries += 1
        log_failure("bus.not_handled", error, target=lane.target, type=type_of(parcel.frame), tries=parcel.tries)
        if parcel.answer is not None or parcel.tries >= self._max_tries:
            self._give_up(lane, parcel, error)
        else:
            self._try_later(lane, parcel)

    def _give_up(self, lane: "_Lane", parcel: "_Parcel", error: Exception) -> None:
        """A question is answered with its failure, work is parked."""
        if parcel.answer is not None:
            self._reply(parcel, failed(error))
        else:
            self._park(lane, parcel, error)

    def _reply(self, parcel: "_Parcel", answer: Message) -> None:
        """A caller that is gone gets no answer, and nobody minds."""
        if parcel.answer is not None:
            self.messages_sent += 1
            if not parcel.answer.done():
                parcel.answer.set_result(encode(answer))

    def _try_later(self, lane: "_Lane", parcel: "_Parcel") -> None:
        seconds = retry_delay(self._world, parcel.tries)
        retry = asyncio.create_task(self._return_after(seconds, lane, parcel), name=f"retry {lane.target}")
        lane.retrying += 1
        self._retries.add(retry)
        retry.add_done_callback(self._retries.discard)

    async def _return_after(self, seconds: float, lane: "_Lane", parcel: "_Parcel") -> None:
        try:
            await self._world.sleep(seconds)
        finally:
            lane.retrying -= 1
        lane.waiting.append(parcel)
        self._hand_out(lane)

    def _park(self, lane: "_Lane", parcel: "_Parcel", error: Exception) -> None:
        letter = DeadLetter(
            id=self._world.uuid(),
            target=lane.target,
            type=type_of(parcel.frame),
            reason=reason(error),
            tries=parcel.tries,
            parked_at=self._world.now().isoformat(),
            frame=parcel.frame,
        )
        _log.error("bus.parked", target=lane.target, type=letter.type, letter=letter.id, reason=letter.reason)
        self.dead_letters.park(letter)


def _readable(frame: bytes) -> bool:
    try:
        decode(frame)
    except Invalid:
        return False
    return True


class _Parcel:
    """A message on its way; ``answer`` is there when somebody waits for one."""

    __slots__ = ("answer", "frame", "tries")

    def __init__(self, frame: bytes, answer: "asyncio.Future[bytes] | None" = None) -> None:
        self.frame = frame
        self.tries = 0
        self.answer = answer


class _Lane:
    """What waits for one target, and who takes it."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.waiting: deque[_Parcel] = deque()
        self.receivers: deque[_Receiver] = deque()
        self.retrying = 0
        self.room = asyncio.Event()

    @property
    def kept(self) -> int:
        return len(self.waiting) + self.retrying

    def free_receiver(self) -> "_Receiver | None":
        """The next receiver in turn that has a free hand."""
        for _ in range(len(self.receivers)):
            receiver = self.receivers[0]
            self.receivers.rotate(-1)
            if receiver.hands.free:
                return receiver
        return None


class _Receiver:
    def __init__(self, bus: LocalBus, lane: _Lane, handler: Handler, prefetch: int) -> None:
        self.handler = handler
        self.hands = Hands(bus._world, f"serve {lane.target}", prefetch, lambda: bus._hand_out(lane))
        self._lane = lane
        lane.receivers.append(self)
        bus._hand_out(lane)

    async def close(self) -> None:
        if self in self._lane.receivers:
            self._lane.receivers.remove(self)
        await self.hands.finish()


class _Served:
    """A target being served: a receiver for its work and one for its calls, so that questions do not wait behind work."""

    def __init__(self, receivers: list[_Receiver]) -> None:
        self._receivers = receivers

    async def close(self) -> None:
        await asyncio.gather(*(receiver.close() for receiver in self._receivers))


class _Subscription:
    """One listener of a topic. One that cannot keep up loses the oldest news."""

    def __init__(self, world: World, topic: str, handler: Handler, prefetch: int, limit: int, subscriptions: "list[_Subscription]") -> None:
        self._topic = topic
        self._handler = handler
        self._waiting: deque[bytes] = deque(maxlen=limit)
        self._subscriptions = subscriptions
        self._hands = Hands(world, f"subscribe {topic}", prefetch, self._hand_out)

    def take(self, frame: bytes) -> None:
        self._waiting.append(frame)
        self._hand_out()

    async def close(self) -> None:
        if self in self._subscriptions:
            self._subscriptions.remove(self)
        self._waiting.clear()
        await self._hands.finish()

    def _hand_out(self) -> None:
        while self._waiting and self._hands.free:
            self._hands.start(self._attend(self._waiting.popleft()))

    async def _attend(self, frame: bytes) -> None:
        try:
            await self._hands.attempt(self._handler, decode(frame))
        except Exception as error:
            log_failure("bus.news_not_handled", error, topic=self._topic, type=type_of(frame))
