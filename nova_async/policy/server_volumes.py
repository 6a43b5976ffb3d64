"""Policies of a server's volumes."""

from nova_async.policy.rule import MEMBER, READER, SERVICE, Rule

LIST = "os_compute_api:os-volumes-attachments:index"
SHOW = "os_compute_api:os-volumes-attachments:show"
CREATE = "os_compute_api:os-volumes-attachments:create"
UPDATE = "os_compute_api:os-volumes-attachments:update"
SWAP = "os_compute_api:os-volumes-attachments:swap"
DELETE = "os_compute_api:os-volumes-attachments:delete"
SNAPSHOT_CREATE = "os_compute_api:os-assisted-volume-snapshots:create"
SNAPSHOT_DELETE = "os_compute_api:os-assisted-volume-snapshots:delete"

RULES = (
    Rule(LIST, READER, "List a server's volumes."),
    Rule(SHOW, READER, "Show a volume of a server."),
    Rule(CREATE, MEMBER, "Attach a volume to a server."),
    Rule(UPDATE, MEMBER, "Say whether a volume is deleted with its server."),
    Rule(SWAP, SERVICE, "Put another volume in the place of one that a server has."),
    Rule(DELETE, MEMBER, "Detach a volume from a server."),
    Rule(SNAPSHOT_CREATE, SERVICE, "Let a server's host take part in a snapshot of a volume."),
    Rule(SNAPSHOT_DELETE, SERVICE, "Let a server's host take part in deleting a snapshot of a volume."),
)
