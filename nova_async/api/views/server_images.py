"""What is answered where an image is made of a server: its id since 2.45, and nothing before."""

from nova_async.api.render import AsItIs
from nova_async.api.schema import since
from nova_async.api.shapes import UUID, closed
from nova_async.api.versions import V

IMAGE = since(V.IMAGE_ID_IN_BODY, closed({"image_id": UUID}))

CREATED = AsItIs(IMAGE)
BACKUP = AsItIs(IMAGE, may_be_empty=True)  # none is kept where the rotation is 0
