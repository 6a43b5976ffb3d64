"""Microversions of the volume API: numbers of those where something here differs, and how one is asked for."""

import re
from typing import Any

from nova_async.errors import Invalid, NotAcceptable

LATEST = 70
NEW_ATTACHMENTS = 27
SNAPSHOT_USER = 41
COMPLETE_ATTACHMENT = 44
WITH_COUNT = 45
SHARED_TARGETS = 48
MODE_OF_ATTACHMENT = 54
TRANSFERS = 55
TRANSFER_PROJECTS = 57
TYPE_ID = 63
ENCRYPTION_KEY_ID = 64
CONSUMES_QUOTA = 65
SNAPSHOT_IN_USE = 66
REIMAGE = 68

NUMBER = re.compile(r"3\.(0|[1-9][0-9]{0,3})")


def asked(header: str | None) -> int:
    """The minor number of what ``OpenStack-API-Version`` wants of this service; 0 without. Raises ``Invalid``, ``NotAcceptable``."""
    for part in (header or "").split(","):
        words = part.split()
        if len(words) != 2 or words[0] not in ("volume", "volumev3", "block-storage"):
            continue
        if words[1] == "latest":
            return LATEST
        match = NUMBER.fullmatch(words[1])
        if match is None:
            raise Invalid(f"API Version String {words[1][:50]} is of invalid format. Must be of format MajorNum.MinorNum.")
        if int(match[1]) > LATEST:
            raise NotAcceptable(f"Version {words[1]} is not supported by the API. Minimum is 3.0 and maximum is 3.{LATEST}.")
        return int(match[1])
    return 0


def document(base: str) -> dict[str, Any]:
    """``base``: where the service lives."""
    version = {
        "id": "v3.0",
        "status": "CURRENT",
        "version": f"3.{LATEST}",
        "min_version": "3.0",
        "updated": "2026-01-01T00:00:00Z",
        "links": [{"rel": "self", "href": f"{base}/v3/"}],
        "media-types": [{"base": "application/json", "type": "application/vnd.openstack.volume+json;version=3"}],
    }
    return {"versions": [version]}
