"""A made-up value for any message type, from its annotations alone."""

from typing import Any

import msgspec
from msgspec import inspect

NESTING = 3  # a struct inside itself ends here


def full(kind: type[Any]) -> dict[str, Any]:
    """Every field has a value."""
    return _struct(inspect.type_info(kind), NESTING, every=True)  # type: ignore[arg-type]


def bare(kind: type[Any]) -> dict[str, Any]:
    """Only what has no default has a value, as an older sender would say it."""
    return _struct(inspect.type_info(kind), NESTING, every=False)  # type: ignore[arg-type]


def _struct(info: inspect.StructType, depth: int, every: bool) -> dict[str, Any]:
    fields = [field for field in info.fields if every or field.required]
    return {field.encode_name: _value(field.type, field.name, depth, every) for field in fields}


def _value(info: inspect.Type, name: str, depth: int, every: bool) -> Any:
    match info:
        case inspect.StrType():
            return name
        case inspect.BoolType():
            return True
        case inspect.IntType():
            return 7
        case inspect.FloatType():
            return 1.5
        case inspect.NoneType():
            return None
        case inspect.AnyType():
            return ["anything", 1, None]
        case inspect.LiteralType():
            return info.values[0]
        case inspect.EnumType():
            return next(iter(info.cls)).value
        case inspect.DateTimeType():
            return "2026-01-01T00:00:00Z"
        case inspect.UUIDType():
            return "00000000-0000-4000-8000-000000000000"
        case inspect.BytesType():
            return "AAEC"
        case inspect.TupleType():
            return [_value(item, name, depth, every) for item in info.item_types]
        case inspect.VarTupleType() | inspect.ListType() | inspect.SetType() | inspect.FrozenSetType():
            return [_value(info.item_type, name, depth, every)]
        case inspect.DictType():
            return {f"{name}-key": _value(info.value_type, name, depth, every)}
        case inspect.UnionType():
            return _choice(info, name, depth, every)
        case inspect.StructType():
            return _struct(info, depth - 1, every)
    raise NotImplementedError(f"no sample for {info}")


def _choice(info: inspect.UnionType, name: str, depth: int, every: bool) -> Any:
    optional = any(isinstance(each, inspect.NoneType) for each in info.types)
    if optional and depth <= 0:
        return None
    return _value(next(each for each in info.types if not isinstance(each, inspect.NoneType)), name, depth, every)


def frame(kind: type[Any], body: dict[str, Any]) -> str:
    return msgspec.json.encode({"type": kind.__name__, "body": body}).decode()
