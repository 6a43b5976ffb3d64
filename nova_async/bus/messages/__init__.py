"""Messages are frozen typed structs that only grow: new fields have defaults that mean the old behaviour.

One module per receiver lists all that it may be asked. On the wire a message is JSON with its
class name under ``type``; a receiver ignores fields it does not know and parks types it does not know.
"""

from typing import Any, TypeVar

import msgspec

from nova_async.errors import Invalid


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """The base of all messages."""


M = TypeVar("M", bound=Message)
KINDS: dict[str, type[Message]] = {}


def message(kind: type[M]) -> type[M]:
    """Register a message type under its class name (decorator)."""
    assert kind.__name__ not in KINDS, kind
    KINDS[kind.__name__] = kind
    return kind


def encode(message: Message) -> bytes:
    return b'{"type":"' + type(message).__name__.encode() + b'","body":' + _encoder.encode(message) + b"}"


class _Envelope(msgspec.Struct):
    type: str
    body: msgspec.Raw


def decode(frame: bytes) -> Message:
    """Raises ``Invalid`` for a frame that is no message, or of a type or shape that we do not know."""
    try:
        envelope = _envelopes.decode(frame)
        kind = KINDS[envelope.type]
        return msgspec.json.decode(envelope.body, type=kind)
    except KeyError as error:
        raise Invalid(f"unknown message type {error}") from None
    except msgspec.MsgspecError as error:
        raise Invalid(f"malformed message: {error}") from None


_encoder = msgspec.json.Encoder()
_envelopes = msgspec.json.Decoder(_Envelope)


@message
class Failed(Message, frozen=True, kw_only=True):
    """The answer to a call whose handler raised: the kind of error and its public text."""

    kind: str
    message: str


@message
class Done(Message, frozen=True, kw_only=True):
    """The answer to a call that has nothing else to say."""


@message
class Notification(Message, frozen=True, kw_only=True):
    """What consumers outside hear, as they hear it: message_id, publisher_id, event_type, priority, payload, timestamp."""

    body: dict[str, Any]


def from_dict(kind: str, fields: dict[str, Any]) -> Message:
    """Build a message from its type name and plain fields (dead letters shown and sent again)."""
    return msgspec.convert(fields, KINDS[kind])
