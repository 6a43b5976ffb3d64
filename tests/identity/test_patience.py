"""Those who guess passwords wait longer and longer; those who know them do not suffer for it."""

import pytest

from nova_async.errors import Unauthorized
from nova_async.services.identity.passwords import Patience
from nova_async.world import SimulatedWorld


def test_five_guesses_are_free_and_pauses_double_up_to_a_minute() -> None:
    world = SimulatedWorld()
    patience = Patience(world)
    for _ in range(Patience.FREE - 1):
        patience.failed("alice", "a")
        patience.check("alice", "a")

    pauses = []
    for _ in range(8):
        patience.failed("alice", "a")
        pauses.append(_pause(patience, world))

    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]


def test_another_address_and_another_account_are_not_held_up() -> None:
    patience = Patience(SimulatedWorld())
    for _ in range(10):
        patience.failed("alice", "a")

    patience.check("alice", "b")
    patience.check("bob", "a")
    with pytest.raises(Unauthorized):
        patience.check("alice", "a")


def test_guessing_from_everywhere_is_slowed_down_but_not_for_the_owner() -> None:
    patience = Patience(SimulatedWorld())
    patience.succeeded("alice", "home")
    for n in range(Patience.FREE_FROM_ANYWHERE):
        patience.failed("alice", f"bot {n}")

    patience.check("alice", "home")
    with pytest.raises(Unauthorized):
        patience.check("alice", "another bot")


def test_success_starts_the_count_anew() -> None:
    patience = Patience(SimulatedWorld())
    for _ in range(4):
        patience.failed("alice", "a")
    patience.succeeded("alice", "a")

    patience.failed("alice", "a")

    patience.check("alice", "a")


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Patience, "MAX_KEYS", 10)
    patience = Patience(SimulatedWorld())
    for n in range(100):
        patience.failed(f"user {n}", "a")
        patience.succeeded(f"user {n}", "b")

    assert len(patience._failures) <= 10
    assert len(patience._familiar) <= 10


def _pause(patience: Patience, world: SimulatedWorld) -> int:
    for seconds in range(100):
        try:
            patience.check("alice", "a")
        except Unauthorized:
            world.advance(1)
        else:
            return seconds
    raise AssertionError("never let in again")
