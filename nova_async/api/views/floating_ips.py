"""Floating IPs as the first versions of the API told of them."""

from nova_async.api.render import Field, Fields, Many, One

TEXT = {"type": "string"}
PERHAPS = {"type": ["string", "null"]}
FIELDS = Fields(
    (
        Field("id", lambda address, _: address["id"], type=TEXT),
        Field("ip", lambda address, _: address["floating_ip_address"], type=TEXT),
        Field("fixed_ip", lambda address, _: address["fixed_ip_address"], type=PERHAPS),
        Field("instance_id", lambda address, _: address["instance_id"], type=PERHAPS),
        Field("pool", lambda address, _: address["pool"], type=TEXT),
    )
)
LIST = Many("floating_ips", FIELDS)
SHOW = One("floating_ip", FIELDS)
