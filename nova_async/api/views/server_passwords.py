"""Passwords of servers: the one that a guest posted, and those that an action made, where they are told at all."""

from nova_async.api.render import AsItIs
from nova_async.api.schema import until
from nova_async.api.shapes import TEXT, closed
from nova_async.api.versions import V

MADE = closed({"adminPass": TEXT})

SHOW = AsItIs(closed({"password": TEXT}))
RESCUED = AsItIs(MADE, may_be_empty=True)
EVACUATED = AsItIs(until(V.EVACUATE_WITHOUT_SHARED_STORAGE - 1, MADE), may_be_empty=True)
