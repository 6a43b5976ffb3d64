"""What becomes of the events of other services: each comes back with a code of its own."""

from nova_async.api.render import AsItIs
from nova_async.api.shapes import INTEGER, TEXT, array, closed, one_of

EVENT = closed({"name": TEXT, "server_uuid": TEXT, "tag": TEXT, "status": one_of("completed", "failed"), "code": INTEGER}, ("tag",))

CREATE = AsItIs(closed({"events": array(EVENT)}))
