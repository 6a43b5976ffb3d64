"""What the decisions about where a server runs look like."""

from nova_async.api.render import AsItIs
from nova_async.api.shapes import ANYTHING, INTEGER, MAYBE_TEXT, TEXT, array, closed, mapping

DECISION = closed(
    {
        "action": TEXT,
        "request_id": TEXT,
        "created_at": {"type": "string", "format": "date-time"},
        "host": MAYBE_TEXT,  # the one that was claimed
        "from": MAYBE_TEXT,  # the one that a move left
        "candidates": array(mapping(ANYTHING)),
        "hosts": INTEGER,
        "refused_by": mapping(INTEGER),  # by filter
        "refusals": array({"type": "object", "properties": {"host": TEXT}, "required": ["host"]}),
        "tried": array(closed({"host": TEXT, "reason": TEXT})),
        "error": MAYBE_TEXT,
    }
)

SHOW = AsItIs(closed({"scheduling": array(DECISION)}))
