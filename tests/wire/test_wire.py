"""Frames of past and present releases are understood."""

from typing import Any

import msgspec
import pytest

from nova_async.bus.messages import decode, encode
from nova_async.errors import Invalid
from tests.wire.record import FRAMES, all_kinds, recorded, wanted

STORED = [(path.stem, number, line) for path in sorted(FRAMES.glob("*.jsonl")) for number, line in enumerate(recorded(path.stem), 1)]


def body(frame: bytes | str) -> Any:
    return msgspec.json.decode(frame)["body"]


def lost(old: Any, new: Any) -> bool:
    """Whether something that ``old`` says is missing in ``new``."""
    if isinstance(old, dict):
        return not isinstance(new, dict) or any(key not in new or lost(value, new[key]) for key, value in old.items())
    if isinstance(old, list):
        return not isinstance(new, list) or len(old) != len(new) or any(map(lost, old, new))
    return bool(old != new)


@pytest.mark.parametrize(("name", "number", "line"), STORED, ids=[f"{name}-{number}" for name, number, _ in STORED])
def test_a_stored_frame_still_means_what_it_meant(name: str, number: int, line: str) -> None:
    message = decode(line.encode())
    assert type(message).__name__ == name
    assert not lost(body(line), body(encode(message)))


@pytest.mark.parametrize("name", all_kinds())
def test_every_message_type_has_frames_stored(name: str) -> None:
    assert recorded(name), "run: python -m tests.wire.record"


@pytest.mark.parametrize("name", all_kinds())
def test_a_field_of_a_later_release_is_ignored(name: str) -> None:
    for frame in wanted(name):
        later = msgspec.json.decode(frame)
        later["body"]["of_a_later_release"] = {"deep": [1]}
        assert encode(decode(msgspec.json.encode(later))) == encode(decode(frame.encode()))


def test_a_type_of_a_later_release_is_refused_by_name() -> None:
    with pytest.raises(Invalid, match="FromTheFuture"):
        decode(b'{"type":"FromTheFuture","body":{}}')


@pytest.mark.parametrize("frame", [b"", b"[]", b'"text"', b'{"type":1,"body":{}}', b'{"body":{}}', b'{"type":"Done"}', b"\xff\xfe"])
def test_what_is_no_message_is_refused(frame: bytes) -> None:
    with pytest.raises(Invalid):
        decode(frame)


def test_a_message_without_what_it_needs_is_refused() -> None:
    with pytest.raises(Invalid, match="workflow_id"):
        decode(b'{"type":"WorkflowReady","body":{}}')
