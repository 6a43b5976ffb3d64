"""What every bus does."""

import asyncio

import pytest
from structlog.contextvars import get_contextvars

from nova_async import log
from nova_async.bus import Bus
from nova_async.bus.messages import Done, Message
from nova_async.bus.messages.compute import ConsoleOutput
from nova_async.errors import Conflict, Error, Invalid, NotFound, TooLarge, Unavailable
from tests.bus.inbox import Inbox, letters_for, until, work


async def test_casts_are_handled_in_the_order_they_were_sent(bus: Bus, target: str) -> None:
    inbox = Inbox()
    await bus.serve(target, inbox, prefetch=1)
    for number in range(20):
        await bus.cast(target, work(number))
    assert await inbox.has(20) == [str(number) for number in range(20)]


async def test_a_target_that_nobody_serves_keeps_its_messages(bus: Bus, target: str) -> None:
    await bus.cast(target, work("early"))
    inbox = Inbox()
    await bus.serve(target, inbox)
    assert await inbox.has(1) == ["early"]


async def test_servers_of_one_target_share_its_messages(bus: Bus, target: str) -> None:
    first, second = Inbox(seconds=0.01), Inbox(seconds=0.01)
    await bus.serve(target, first, prefetch=1)
    await bus.serve(target, second, prefetch=1)
    for number in range(20):
        await bus.cast(target, work(number))
    await until(lambda: len(first.done) + len(second.done) == 20)
    assert first.done
    assert second.done
    assert not set(first.done) & set(second.done)


async def test_no_more_handlers_run_at_once_than_prefetch_allows(bus: Bus, target: str) -> None:
    for number in range(12):
        await bus.cast(target, work(number))
    inbox = Inbox(seconds=0.1)
    await bus.serve(target, inbox, prefetch=3)
    await inbox.has(12)
    assert inbox.busiest == 3


async def test_a_call_returns_the_answer(bus: Bus, target: str) -> None:
    await bus.serve(target, Inbox(answer=ConsoleOutput(output="login: ")))
    assert await bus.call(target, work(1), timeout=5) == ConsoleOutput(output="login: ")


async def test_a_handler_that_answers_nothing_is_done(bus: Bus, target: str) -> None:
    await bus.serve(target, Inbox())
    assert await bus.call(target, work(1), timeout=5) == Done()


async def test_an_error_of_ours_crosses_with_its_kind_and_text(bus: Bus, target: str) -> None:
    await bus.serve(target, Inbox(failures=9, error=Conflict("it is locked", detail="by row 7")))
    with pytest.raises(Conflict, match="it is locked") as caught:
        await bus.call(target, work(1), timeout=5)
    assert caught.value.detail is None


async def test_a_foreign_exception_crosses_without_its_text(bus: Bus, target: str) -> None:
    await bus.serve(target, Inbox(failures=9, error=ValueError("/etc/secret")))
    with pytest.raises(Error) as caught:
        await bus.call(target, work(1), timeout=5)
    assert type(caught.value) is Error
    assert "secret" not in caught.value.message


async def test_a_question_is_asked_once_even_when_it_fails(bus: Bus, target: str) -> None:
    inbox = Inbox(failures=9, error=NotFound())
    await bus.serve(target, inbox)
    with pytest.raises(NotFound):
        await bus.call(target, work(1), timeout=5)
    await asyncio.sleep(0.3)
    assert inbox.seen == ["1"]
    assert not await letters_for(bus, target)


async def test_a_call_that_nobody_answers_is_unavailable_after_its_timeout(bus: Bus, target: str) -> None:
    with pytest.raises(Unavailable, match=f"{target} did not answer WorkflowReady"):
        await bus.call(target, work(1), timeout=0.3)


async def test_an_answer_that_comes_too_late_disturbs_nobody(bus: Bus, target: str) -> None:
    over = asyncio.Event()

    async def answer(_: Message) -> None:
        await over.wait()

    await bus.serve(target, answer)
    with pytest.raises(Unavailable):
        await bus.call(target, work("late"), timeout=0.5)
    over.set()
    assert await bus.call(target, work("again"), timeout=5) == Done()


async def test_a_question_whose_caller_gave_up_is_not_asked_any_more(bus: Bus, target: str) -> None:
    with pytest.raises(Unavailable):
        await bus.call(target, work("stale"), timeout=0.2)
    await asyncio.sleep(0.1)
    inbox = Inbox()
    await bus.serve(target, inbox)
    await bus.call(target, work("fresh"), timeout=5)
    assert inbox.seen == ["fresh"]


async def test_a_question_does_not_wait_behind_work(bus: Bus, target: str) -> None:
    inbox = Inbox(seconds=1.0)
    await bus.serve(target, inbox, prefetch=1)
    await bus.cast(target, work("slow"))
    await bus.cast(target, work("slow too"))
    await bus.call(target, work("question"), timeout=1.9)
    assert "slow too" not in inbox.done


async def test_many_calls_at_once_each_get_their_own_answer(bus: Bus, target: str) -> None:
    async def echo(message: Message) -> Message:
        await asyncio.sleep(0)
        return message

    await bus.serve(target, echo)
    answers = await asyncio.gather(*(bus.call(target, work(number), timeout=10) for number in range(50)))
    assert answers == [work(number) for number in range(50)]


async def test_news_reach_those_who_listen_now_and_nobody_later(bus: Bus, target: str) -> None:
    first, second, late = Inbox(), Inbox(), Inbox()
    await bus.subscribe(target, first)
    await bus.subscribe(target, second)
    await bus.publish(target, work(1))
    await first.has(1)
    await second.has(1)
    await bus.subscribe(target, late)
    await bus.publish(target, work(2))
    assert await late.has(1) == ["2"]
    assert await first.has(2) == ["1", "2"]


async def test_news_without_listeners_are_no_error(bus: Bus, target: str) -> None:
    await bus.publish(target, work(1))


async def test_a_listener_that_fails_still_hears_the_next(bus: Bus, target: str) -> None:
    inbox = Inbox(failures=1)
    await bus.subscribe(target, inbox)
    await bus.publish(target, work(1))
    await until(lambda: inbox.seen == ["1"])
    await bus.publish(target, work(1))
    assert await inbox.has(1) == ["1"]
    assert inbox.seen == ["1", "1"]


async def test_a_listener_that_left_hears_nothing(bus: Bus, target: str) -> None:
    inbox, stays = Inbox(), Inbox()
    service = await bus.subscribe(target, inbox)
    await bus.subscribe(target, stays)
    await service.close()
    await bus.publish(target, work(1))
    await stays.has(1)
    assert inbox.seen == []


async def test_a_handler_that_fails_is_tried_again(bus: Bus, target: str) -> None:
    inbox = Inbox(failures=1)
    await bus.serve(target, inbox)
    await bus.cast(target, work("stubborn"))
    assert await inbox.has(1) == ["stubborn"]
    assert inbox.seen == ["stubborn", "stubborn"]


async def test_what_keeps_failing_is_parked_and_the_queue_behind_it_moves(bus: Bus, target: str) -> None:
    inbox = Inbox()
    poison = Inbox(failures=9, error=Invalid("no host of that name"))

    async def handler(message: Message) -> Message | None:
        return await (poison if message == work("poison") else inbox)(message)

    await bus.serve(target, handler, prefetch=1)
    await bus.cast(target, work("poison"))
    for number in range(5):
        await bus.cast(target, work(number))
    await inbox.has(5)
    (letter,) = await letters_for(bus, target, 1)
    assert poison.seen == ["poison"] * 2
    assert (letter.type, letter.tries, letter.reason) == ("WorkflowReady", 2, "Invalid: no host of that name")
    assert letter.body() == {"workflow_id": "poison"}
    assert letter.parked_at


async def test_a_parked_message_does_not_show_the_text_of_a_foreign_exception(bus: Bus, target: str) -> None:
    await bus.serve(target, Inbox(failures=9, error=ValueError("password=hunter2")))
    await bus.cast(target, work(1))
    (letter,) = await letters_for(bus, target, 1)
    assert letter.reason == "ValueError"


async def test_a_dead_letter_can_be_sent_again(bus: Bus, target: str) -> None:
    inbox = Inbox(failures=2)
    await bus.serve(target, inbox)
    await bus.cast(target, work("second life"))
    (letter,) = await letters_for(bus, target, 1)
    assert await bus.dead_letters.requeue(letter.id) == letter
    assert await inbox.has(1) == ["second life"]
    assert not await letters_for(bus, target)


async def test_a_dead_letter_can_be_dropped_and_the_others_stay(bus: Bus, target: str) -> None:
    await bus.serve(target, Inbox(failures=9), prefetch=1)
    await bus.cast(target, work(1))
    await letters_for(bus, target, 1)
    await bus.cast(target, work(2))
    letters = await letters_for(bus, target, 2)
    await bus.dead_letters.drop(letters[0].id)
    assert await letters_for(bus, target) == letters[1:]
    with pytest.raises(NotFound):
        await bus.dead_letters.drop(letters[0].id)
    with pytest.raises(NotFound):
        await bus.dead_letters.requeue(letters[0].id)


@pytest.mark.parametrize(
    "frame", [b"\x00\xff", b'{"type":"FromTheFuture","body":{}}', b'{"type":"WorkflowReady","body":{"workflow_id":7}}']
)
async def test_what_cannot_be_read_is_parked_at_once(bus: Bus, target: str, frame: bytes) -> None:
    inbox = Inbox()
    await bus.serve(target, inbox)
    await bus.send_frame(target, frame)  # type: ignore[attr-defined]
    await bus.cast(target, work("behind"))
    await inbox.has(1)
    (letter,) = await letters_for(bus, target, 1)
    assert letter.frame == frame
    assert letter.tries <= 1
    assert inbox.seen == ["behind"]


async def test_a_service_that_closes_finishes_what_is_in_hand_and_leaves_the_rest(bus: Bus, target: str) -> None:
    leaving, next_one = Inbox(seconds=0.3), Inbox()
    service = await bus.serve(target, leaving, prefetch=1)
    for number in range(3):
        await bus.cast(target, work(number))
    await until(lambda: leaving.seen != [])
    await service.close()
    handled = [*leaving.done]
    assert handled == leaving.seen
    await bus.cast(target, work(3))
    await bus.serve(target, next_one)
    await next_one.has(4 - len(handled))
    assert sorted(handled + next_one.done) == ["0", "1", "2", "3"]


async def test_a_message_that_is_too_large_is_refused_before_it_is_sent(bus: Bus, target: str) -> None:
    with pytest.raises(TooLarge):
        await bus.cast(target, work("x" * 5_000_000))


async def test_the_bus_counts_what_it_sends(bus: Bus, target: str) -> None:
    inbox = Inbox()
    await bus.serve(target, inbox)
    before = bus.messages_sent
    await bus.cast(target, work(1))
    await bus.publish(target, work(2))
    await bus.call(target, work(3), timeout=5)
    await until(lambda: bus.messages_sent == before + 4)


async def test_a_closed_bus_takes_nothing(bus: Bus, target: str) -> None:
    await bus.close()
    with pytest.raises(Unavailable):
        await bus.cast(target, work(1))


async def test_a_handler_knows_nothing_of_other_messages_nor_of_who_sent_them(bus: Bus, target: str) -> None:
    """SEC-038: what is bound to a message's work ends with it, and goes along with no answer."""
    strange: list[object] = []

    async def handle(message: Message) -> Message:
        assert isinstance(message, ConsoleOutput)
        strange.append(get_contextvars())
        with log.bound(request_id=message.output):
            await asyncio.sleep(0.002)
            strange.append({key: value for key, value in get_contextvars().items() if value != message.output})
        return message

    await bus.serve(target, handle)

    async def ask(user: str, number: int) -> None:
        told = f"{user}-{number}"
        with log.bound(request_id=told):
            assert await bus.call(target, ConsoleOutput(output=told), timeout=20) == ConsoleOutput(output=told)
            assert log.request_id() == told

    await asyncio.gather(*(ask(user, number) for number in range(100) for user in ("anna", "ben")))
    assert len(strange) == 400
    assert not any(strange)
