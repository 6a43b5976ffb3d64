"""What the views of all collections share."""

from datetime import UTC, datetime
from typing import Any, Protocol

ZONE = "nova"  # the availability zone of all there is


class Dated(Protocol):
    revision: int
    created_at: datetime


def dates(row: Dated) -> dict[str, Any]:
    updated: datetime = getattr(row, "updated_at", None) or row.created_at
    return {"created_at": moment(row.created_at), "updated_at": moment(updated), "revision_number": row.revision}


def moment(value: datetime) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
