"""What a network interface looks like: a port as it is bound to the server."""

from typing import Any

from nova_async.api.render import Field, Fields, Many, One
from nova_async.api.request import Request
from nova_async.api.shapes import ADDRESS, MAYBE_TEXT, TEXT, UUID, array, closed, one_of
from nova_async.api.versions import V


def _addresses(port: dict[str, Any], _: Request) -> list[dict[str, str]]:
    return [{"subnet_id": ip["subnet_id"], "ip_address": ip["address"]} for ip in port.get("fixed_ips", ())]


FIELDS = Fields(
    (
        Field("port_state", lambda port, _: "ACTIVE", type=one_of("ACTIVE")),
        Field("fixed_ips", _addresses, type=array(closed({"subnet_id": UUID, "ip_address": ADDRESS}))),
        Field("port_id", lambda port, _: port["id"], type=UUID),
        Field("net_id", lambda port, _: port["network_id"], type=UUID),
        Field("mac_addr", lambda port, _: port["mac"], type=TEXT),
        Field("tag", lambda port, _: port.get("tag"), since=V.ATTACHMENT_TAGS_SHOWN, type=MAYBE_TEXT),
    )
)

SHOW = One("interfaceAttachment", FIELDS)
LIST = Many("interfaceAttachments", FIELDS)
