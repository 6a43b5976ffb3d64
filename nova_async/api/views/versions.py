"""What the service says of its versions, and of the extensions of old."""

from nova_async.api.render import AsItIs
from nova_async.api.shapes import LINKS, TEXT, array, closed, one_of

MEDIA_TYPES = array(closed({"base": TEXT, "type": TEXT}))
VERSION = closed(
    {
        **dict.fromkeys(("id", "version", "min_version", "updated"), TEXT),
        "status": one_of("CURRENT", "SUPPORTED", "DEPRECATED"),
        "links": LINKS,
        "media-types": MEDIA_TYPES,
    }
)
ALIAS = closed({**dict.fromkeys(("alias", "name", "namespace", "description", "updated"), TEXT), "links": LINKS})

SHOW = AsItIs(closed({"version": VERSION}))
EXTENSIONS = AsItIs(closed({"extensions": array(ALIAS)}))
EXTENSION = AsItIs(closed({"extension": ALIAS}))
