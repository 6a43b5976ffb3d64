"""What a network interface looks like: a port as it is bound to the server."""

from typing import Any

from nova_async.api.render import Field, Fields, Many, One
from nova_async.api.request import Request
from nova_async.api.versions import V

TEXT = {"type": "string"}


def _addresses(port: dict[str, Any], _: Request) -> list[dict[str, str]]:
    return [{"subnet_id": ip["subnet_id"], "ip_address": ip["address"]} for ip in port.get("fixed_ips", ())]


FIELDS = Fields(
    (
        Field("port_state", lambda port, _: "ACTIVE", type=TEXT),
        Field("fixed_ips", _addresses, type={"type": "array"}),
        Field("port_id", lambda port, _: port["id"], type=TEXT),
        Field("net_id", lambda port, _: port["network_id"], type=TEXT),
        Field("mac_addr", lambda port, _: port["mac"], type=TEXT),
        Field("tag", lambda port, _: port.get("tag"), since=V.ATTACHMENT_TAGS_SHOWN, type={"type": ["string", "null"]}),
    )
)

SHOW = One("interfaceAttachment", FIELDS)
LIST = Many("interfaceAttachments", FIELDS)
