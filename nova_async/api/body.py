"""Request bodies: JSON, strictly. What a parser might read in two ways is refused."""

import json
import math
from typing import Any

from aiohttp import web

from nova_async.errors import BadMediaType, Invalid, TooLarge, Unreadable

MEDIA_TYPES = frozenset({"", "application/json", "text/plain", "application/vnd.openstack.compute+json", "application/octet-stream"})
MALFORMED = "Malformed request body"
LARGEST_INTEGER = 2**63 - 1


async def read(request: web.Request, limit: int) -> bytes:
    """The body's bytes; raises ``TooLarge`` as soon as more than ``limit`` are announced or come.

    Raises ``Unreadable`` where chunks or their compression (Content-Encoding) are not what they are said to be.
    """
    if (request.content_length or 0) > limit:
        raise TooLarge()
    if not request.body_exists:
        return b""
    chunks, size = [], 0
    try:
        while chunk := await request.content.readany():
            size += len(chunk)
            if size > limit:
                raise TooLarge()
            chunks.append(chunk)
    except web.RequestPayloadError:
        raise Unreadable from None
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def check_media_type(request: web.Request) -> None:
    """A missing type and plain text pass, as they do in Nova; so does what Python's clients say where they were told no type."""
    if request.headers.get("Content-Type", "").partition(";")[0].strip().lower() not in MEDIA_TYPES:
        raise BadMediaType()


def parse(raw: bytes) -> Any:
    """The JSON document. Raises ``Invalid`` for anything doubtful.

    Refused are duplicate keys, NaN and infinity, integers beyond 64 bits, nesting beyond the parser's
    stack, NUL characters and lone surrogates (PostgreSQL cannot store either), and bytes that are not UTF-8.
    """
    try:
        document = json.loads(
            raw.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse, parse_int=_bounded, parse_float=_finite
        )
        if b"\\u" in raw or b"\0" in raw:
            check_text(document)
    except (ValueError, RecursionError):
        raise Invalid(MALFORMED) from None
    return document


def check_text(value: Any) -> None:
    """Raises ``ValueError`` where a string holds a NUL character or half of a surrogate pair."""
    if isinstance(value, str):
        value.encode("utf-8")
        if "\0" in value:
            raise ValueError(value)
    elif isinstance(value, dict):
        for key, inner in value.items():
            check_text(key)
            check_text(inner)
    elif isinstance(value, list):
        for inner in value:
            check_text(inner)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("duplicate key")
    return document


def _refuse(text: str) -> Any:
    raise ValueError(text)


def _bounded(text: str) -> int:
    if len(text) > 20 or not -LARGEST_INTEGER <= (number := int(text)) <= LARGEST_INTEGER:
        raise ValueError("integer beyond 64 bits")
    return number


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number
