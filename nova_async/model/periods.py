"""Periods in which usage is audited: hours, days, months or years in UTC, each beginning where the one before ends."""

import re
from datetime import datetime, timedelta

FORM = re.compile(r"(hour|day|month|year)(?:@(\d{1,2}))?")
OFFSETS = {"hour": (0, 59), "day": (0, 23), "month": (1, 28), "year": (1, 12)}  # minute, hour, day, month in which a period begins


def last_completed(unit: str, before: datetime) -> tuple[datetime, datetime]:
    """Begin and end of the period that ended last before a time.

    ``unit`` may have an offset, as Nova's ``instance_usage_audit_period``: ``day@18`` begins at 18:00, ``month@15`` on the
    15th, ``year@3`` in March. Raises ``ValueError`` for another word.
    """
    word, offset = _parsed(unit)
    end = _begun(word, offset, before)
    if end >= before:
        end = _begun(word, offset, before - timedelta(microseconds=1))
    return _begun(word, offset, end - timedelta(microseconds=1)), end


def _parsed(unit: str) -> tuple[str, int]:
    match = FORM.fullmatch(unit)
    low, high = OFFSETS[match[1]] if match else (0, 0)
    if match is None or not low <= int(match[2] or low) <= high:
        raise ValueError(f"{unit!r} is no audit period: it may be hour, day, month or year, with an offset as in day@18.")
    return match[1], int(match[2] or low)


def _begun(word: str, offset: int, moment: datetime) -> datetime:
    """When the period began in which the moment lies."""
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    match word:
        case "hour":
            begun = moment.replace(minute=offset, second=0, microsecond=0)
            return begun if begun <= moment else begun - timedelta(hours=1)
        case "day":
            begun = midnight.replace(hour=offset)
            return begun if begun <= moment else begun - timedelta(days=1)
        case "month":
            begun = midnight.replace(day=offset)
            return begun if begun <= moment else (begun.replace(day=1) - timedelta(days=1)).replace(day=offset)
        case _:
            begun = midnight.replace(month=offset, day=1)
            return begun if begun <= moment else begun.replace(year=begun.year - 1)
