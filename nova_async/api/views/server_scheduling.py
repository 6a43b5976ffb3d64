"""What the decisions about where a server runs look like."""

from nova_async.api.render import AsItIs
from nova_async.api.shapes import INTEGER, MAYBE_TEXT, TEXT, array, closed, mapping

REASON = {"filter": TEXT, "reason": TEXT}
DECISION = closed(
    {
        "action": TEXT,
        "request_id": TEXT,
        "created_at": {"type": "string", "format": "date-time"},
        "host": MAYBE_TEXT,  # the one that was claimed
        "from": MAYBE_TEXT,  # the one that a move left
        "candidates": array(closed({"host": TEXT, "host_id": TEXT, "weight": {"type": "number"}})),
        "hosts": INTEGER,
        "refused_by": mapping(INTEGER),  # by filter
        "refusals": array(closed({"host": TEXT, **REASON, "others": array(closed(REASON))})),
        "tried": array(closed({"host": TEXT, "reason": TEXT})),
        "error": MAYBE_TEXT,
    }
)

SHOW = AsItIs(closed({"scheduling": array(DECISION)}))
