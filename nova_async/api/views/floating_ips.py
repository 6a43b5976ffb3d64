"""Floating IPs as the first versions of the API told of them."""

from nova_async.api.render import Field, Fields, Many, One
from nova_async.api.shapes import ADDRESS, MAYBE_TEXT, TEXT, UUID, nullable

FIELDS = Fields(
    (
        Field("id", lambda address, _: address["id"], type=UUID),
        Field("ip", lambda address, _: address["floating_ip_address"], type=ADDRESS),
        Field("fixed_ip", lambda address, _: address["fixed_ip_address"], type=nullable(ADDRESS)),
        Field("instance_id", lambda address, _: address["instance_id"], type=MAYBE_TEXT),
        Field("pool", lambda address, _: address["pool"], type=TEXT),
    )
)
LIST = Many("floating_ips", FIELDS)
SHOW = One("floating_ip", FIELDS)
