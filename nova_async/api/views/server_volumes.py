"""What the volumes of a server look like."""

from nova_async.api.render import AsItIs
from nova_async.api.schema import since, until
from nova_async.api.shapes import BOOLEAN, MAYBE_TEXT, TEXT, UUID, array, closed
from nova_async.api.versions import V

ATTACHMENT = closed(
    {
        "id": until(V.ATTACHMENT_IDS - 1, TEXT),
        "serverId": UUID,
        "volumeId": TEXT,
        "device": MAYBE_TEXT,
        "tag": since(V.ATTACHMENT_TAGS_SHOWN, MAYBE_TEXT),
        "delete_on_termination": since(V.DELETE_ON_TERMINATION, BOOLEAN),
        "attachment_id": since(V.ATTACHMENT_IDS, MAYBE_TEXT),
        "bdm_uuid": since(V.ATTACHMENT_IDS, TEXT),
    },
    ("device",),
)

LIST = AsItIs(closed({"volumeAttachments": array(ATTACHMENT)}))
SHOW = AsItIs(closed({"volumeAttachment": ATTACHMENT}))
ATTACHED = AsItIs(until(V.ATTACH_IN_BACKGROUND - 1, closed({"volumeAttachment": ATTACHMENT})))
