"""What the shares of a server look like."""

from nova_async.api.render import AsItIs
from nova_async.api.shapes import TEXT, UUID, array, closed, one_of

STATUS = one_of("attaching", "detaching", "inactive", "active", "error")
SHARE = closed({"uuid": UUID, "share_id": UUID, "status": STATUS, "tag": TEXT, "export_location": TEXT}, ("uuid", "export_location"))

LIST = AsItIs(closed({"shares": array(SHARE)}))
SHOW = AsItIs(closed({"share": SHARE}))
