"""The body of the proxy to floating IPs, which may be absent."""

from nova_async.api.schema import Schema

CREATE = Schema({"type": ["object", "null"], "properties": {"pool": {"type": ["string", "null"], "maxLength": 255}}}, optional=True)
