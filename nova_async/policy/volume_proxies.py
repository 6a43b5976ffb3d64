"""Policies of the proxies to the volume service."""

from nova_async.policy.rule import MEMBER, READER, Rule

LIST = "os_compute_api:os-volumes:list"
DETAIL = "os_compute_api:os-volumes:detail"
SHOW = "os_compute_api:os-volumes:show"
CREATE = "os_compute_api:os-volumes:create"
DELETE = "os_compute_api:os-volumes:delete"
SNAPSHOTS_LIST = "os_compute_api:os-volumes:snapshots:list"
SNAPSHOTS_DETAIL = "os_compute_api:os-volumes:snapshots:detail"
SNAPSHOTS_SHOW = "os_compute_api:os-volumes:snapshots:show"
SNAPSHOTS_CREATE = "os_compute_api:os-volumes:snapshots:create"
SNAPSHOTS_DELETE = "os_compute_api:os-volumes:snapshots:delete"

RULES = (
    Rule(LIST, READER, "List volumes."),
    Rule(DETAIL, READER, "List volumes with details."),
    Rule(SHOW, READER, "Show a volume."),
    Rule(CREATE, MEMBER, "Make a volume."),
    Rule(DELETE, MEMBER, "Delete a volume."),
    Rule(SNAPSHOTS_LIST, READER, "List snapshots of volumes."),
    Rule(SNAPSHOTS_DETAIL, READER, "List snapshots of volumes with details."),
    Rule(SNAPSHOTS_SHOW, READER, "Show a snapshot of a volume."),
    Rule(SNAPSHOTS_CREATE, MEMBER, "Make a snapshot of a volume."),
    Rule(SNAPSHOTS_DELETE, MEMBER, "Delete a snapshot of a volume."),
)
