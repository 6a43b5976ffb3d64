"""The scheduler hint ``query``: a question about hosts in prefix notation, ``["and", [">=", "$free_ram_mb", 1024], [...]]``.

Words that begin with ``$`` stand for what is known of the host.
"""

import json
import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

from nova_async.errors import Invalid

DEEPEST: Final = 20


def _each(compare: Callable[[Any, Any], bool]) -> Callable[[list[Any]], bool]:
    """The first operand compares so with every other one."""

    def judge(values: list[Any]) -> bool:
        try:
            return len(values) >= 2 and all(compare(values[0], other) for other in values[1:])
        except TypeError:
            return False

    return judge


OPERATORS: Final[dict[str, Callable[[list[Any]], bool]]] = {
    "=": _each(operator.eq),
    "<": _each(operator.lt),
    ">": _each(operator.gt),
    "<=": _each(operator.le),
    ">=": _each(operator.ge),
    "in": lambda values: len(values) >= 2 and values[0] in values[1:],
    "not": lambda values: not any(values),
    "or": any,
    "and": all,
}


def parsed(hint: Any) -> list[Any]:
    """The question; raises ``Invalid`` saying what is wrong with it."""
    try:
        question = json.loads(hint) if isinstance(hint, str) else hint
    except (ValueError, RecursionError):
        raise Invalid("Invalid scheduler hint query: it is no JSON.") from None
    _check(question, 1)
    return question  # type: ignore[no-any-return]


def _check(question: Any, depth: int) -> None:
    if not isinstance(question, list) or not question:
        raise Invalid("Invalid scheduler hint query: it must be a list of an operator and its operands.")
    if depth > DEEPEST:
        raise Invalid(f"Invalid scheduler hint query: it is nested deeper than {DEEPEST} levels.")
    if not isinstance(question[0], str) or question[0] not in OPERATORS:
        raise Invalid(f"Invalid scheduler hint query: {str(question[0])[:60]!r} is not one of the operators {', '.join(OPERATORS)}.")
    for operand in question[1:]:
        if isinstance(operand, list):
            _check(operand, depth + 1)
        elif isinstance(operand, dict):
            raise Invalid("Invalid scheduler hint query: operands are lists, words and numbers.")


def holds(question: list[Any], facts: Mapping[str, Any]) -> bool:
    """Whether a host with these facts satisfies the question. A fact that is not known satisfies no comparison."""
    values = []
    for operand in question[1:]:
        value = holds(operand, facts) if isinstance(operand, list) else _value(operand, facts)
        if value is None:
            return False
        values.append(value)
    return bool(OPERATORS[question[0]](values))


def _value(operand: Any, facts: Mapping[str, Any]) -> Any:
    if not (isinstance(operand, str) and operand.startswith("$")):
        return operand
    value: Any = facts
    for name in operand[1:].split("."):
        if not isinstance(value, Mapping) or name not in value:
            return None
        value = value[name]
    return value
