"""What consoles look like: the end of a log, an address for a browser, and what is behind it."""

from nova_async.api.render import AsItIs
from nova_async.api.schema import since
from nova_async.api.shapes import INTEGER, MAYBE_INTEGER, MAYBE_TEXT, TEXT, UUID, closed
from nova_async.api.versions import V

URL = {"type": "string", "format": "uri"}
WHERE = {"instance_uuid": UUID, "host": TEXT, "port": INTEGER, "internal_access_path": MAYBE_TEXT}

OUTPUT = AsItIs(closed({"output": TEXT}))
OLD = AsItIs(closed({"console": closed({"type": TEXT, "url": URL})}))
CREATED = AsItIs(closed({"remote_console": closed({"protocol": TEXT, "type": TEXT, "url": URL})}))
TOKEN = AsItIs(closed({"console": closed({**WHERE, "tls_port": since(V.SPICE_DIRECT, MAYBE_INTEGER)}, ("tls_port",))}))
