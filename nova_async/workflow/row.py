"""A workflow's row: what os-instance-actions shows and what the engine resumes from."""

from datetime import datetime
from typing import Any

import msgspec

LIVE = ("running", "waiting", "undoing")


class WorkflowRow(msgspec.Struct, kw_only=True):
    """One row of ``workflows``. ``kind`` is the action's name; ``history`` its events.

    An event is {event, start_time, finish_time, result, host, message, traceback}: times ISO 8601 in UTC, result
    ``Success`` or ``Error``, the rest may be absent.
    """

    id: str
    kind: str
    subject_id: str
    parent_id: str | None = None
    state: str
    step: str | None = None
    task_state: str | None = None
    attempt: int = 0
    input: dict[str, Any]
    results: dict[str, Any]
    history: list[dict[str, Any]]
    signal: str | None = None
    error: dict[str, Any] | None = None  # {kind, message, detail}
    context: dict[str, Any]  # context.Context as plain fields
    request_id: str
    owner: str | None = None
    lease_until: datetime | None = None
    wake_at: datetime
    deadline: datetime | None = None
    point_of_no_return: bool = False
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None = None
    number: int = 0  # by which os-migrations names it
