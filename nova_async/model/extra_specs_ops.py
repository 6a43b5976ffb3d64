"""The comparison operators that extra specs may carry (Nova's ``extra_specs_ops``)."""

import operator
from collections.abc import Callable

PLAIN_WORDS = frozenset({"group_policy", "hide_hypervisor_id"})  # extra specs without a scope that ask nothing of hosts or aggregates
NUMBERS: dict[str, Callable[[float, float], bool]] = {
    "=": operator.ge,  # "equal to or greater than", by Nova's documentation
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
}
WORDS: dict[str, Callable[[str, str], bool]] = {
    "s==": operator.eq,
    "s!=": operator.ne,
    "s<": operator.lt,
    "s<=": operator.le,
    "s>": operator.gt,
    "s>=": operator.ge,
}


def matches(value: str, wanted: str) -> bool:
    """Whether ``value`` satisfies ``wanted``: a plain word to be equal to, or an operator and its operands."""
    head, *operands = wanted.split()
    if not operands:
        return value == wanted
    if head == "<or>":
        return value in [word for word in operands if word != "<or>"]
    if head == "<in>":
        return operands[0] in value
    if head == "<all-in>":
        return all(word in value for word in operands)
    if head in WORDS:
        return WORDS[head](value, operands[0])
    if head in NUMBERS:
        try:
            return NUMBERS[head](float(value), float(operands[0]))
        except ValueError:
            return False
    return value == wanted
