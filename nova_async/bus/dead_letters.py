"""Messages that nobody could handle, kept for an operator to look at, send again or drop."""

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import msgspec

from nova_async import log
from nova_async.errors import NotFound

KEPT = 10_000  # parked messages; the oldest go first

_log = log.get("bus")


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A parked message."""

    id: str
    target: str
    type: str  # "" when the frame could not be read
    reason: str
    tries: int
    parked_at: str  # ISO 8601
    frame: bytes

    def body(self) -> Any:
        """The message's fields, or None when the frame could not be read."""
        try:
            return msgspec.json.decode(self.frame)["body"]
        except (msgspec.DecodeError, KeyError, TypeError):
            return None


class DeadLetters(Protocol):
    """``bus.dead_letters`` of every bus. All raise ``Unavailable`` while the broker is away."""

    async def list(self, limit: int = 100) -> "list[DeadLetter]":
        """The oldest ``limit`` letters."""
        ...

    async def requeue(self, letter_id: str) -> DeadLetter:
        """Send one letter to its target again, as if it had never been tried. Raises ``NotFound``."""
        ...

    async def drop(self, letter_id: str) -> DeadLetter:
        """Forget one letter. Raises ``NotFound``."""
        ...


def type_of(frame: bytes) -> str:
    """The message type that a frame claims, or "" when it claims none."""
    try:
        claimed = msgspec.json.decode(frame)["type"]
    except (msgspec.DecodeError, KeyError, TypeError):
        return ""
    return claimed if isinstance(claimed, str) else ""


def missing(letter_id: str) -> NotFound:
    return NotFound(f"No dead letter has the id {letter_id}.")


class LocalDeadLetters:
    """Dead letters in memory; they are gone with the process."""

    def __init__(self, send_frame: Callable[[str, bytes], Awaitable[None]]) -> None:
        self._send_frame = send_frame
        self._letters: deque[DeadLetter] = deque(maxlen=KEPT)

    def park(self, letter: DeadLetter) -> None:
        if len(self._letters) == KEPT:
            _log.warning("bus.dead_letter_lost", letter=self._letters[0].id, target=self._letters[0].target)
        self._letters.append(letter)

    async def list(self, limit: int = 100) -> "list[DeadLetter]":
        return [*self._letters][:limit]

    async def requeue(self, letter_id: str) -> DeadLetter:
        letter = self._find(letter_id)
        await self._send_frame(letter.target, letter.frame)
        self._letters.remove(letter)
        return letter

    async def drop(self, letter_id: str) -> DeadLetter:
        letter = self._find(letter_id)
        self._letters.remove(letter)
        return letter

    def _find(self, letter_id: str) -> DeadLetter:
        for letter in self._letters:
            if letter.id == letter_id:
                return letter
        raise missing(letter_id)
