"""Bodies of server metadata."""

from nova_async.api.schema import Schema
from nova_async.api.schemas import METADATA, body

ALL = Schema(body("metadata", METADATA))
ONE = Schema(body("meta", {**METADATA, "minProperties": 1, "maxProperties": 1}))
