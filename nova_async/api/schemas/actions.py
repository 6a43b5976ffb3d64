"""Bodies of the actions on a server."""

from nova_async.api.schema import Schema, first, since, until
from nova_async.api.schemas import body
from nova_async.api.versions import V


def bare(action: str) -> Schema:
    """``{action: anything}``, as Nova takes it where the value means nothing."""
    return Schema(body(action, {}))


REBOOT = Schema(
    body(
        "reboot",
        {
            "type": "object",
            "properties": {"type": {"type": "string", "enum": ["HARD", "Hard", "hard", "SOFT", "Soft", "soft"]}},
            "required": ["type"],
            "additionalProperties": False,
        },
    )
)
LOCK = Schema(
    body(
        "lock",
        first(
            until(V.LOCKED_REASON - 1, {}),
            since(
                V.LOCKED_REASON,
                {
                    "type": ["object", "null"],
                    "properties": {"locked_reason": {"type": "string", "minLength": 1, "maxLength": 255}},
                    "additionalProperties": False,
                },
            ),
        ),
    )
)
RESET_STATE = Schema(
    body(
        "os-resetState",
        {
            "type": "object",
            "properties": {"state": {"type": "string", "enum": ["active", "error"]}},
            "required": ["state"],
            "additionalProperties": False,
        },
    )
)
CONSOLE_OUTPUT = Schema(
    body(
        "os-getConsoleOutput",
        {
            "type": "object",
            "properties": {
                "length": {
                    "type": ["integer", "string", "null"],
                    "pattern": "^-?[0-9]+$",
                    "minimum": -1,
                    "maximum": 2**31 - 1,
                    "format": f"integer:-1:{2**31 - 1}",
                }
            },
            "additionalProperties": False,
        },
    )
)
