"""Every operation on a server, by the name that os-instance-actions shows."""

from nova_async.conductor.workflows import guest_actions, interfaces, power, resize, volume_snapshots, volumes
from nova_async.conductor.workflows.create import CREATE
from nova_async.conductor.workflows.delete import DELETE
from nova_async.conductor.workflows.evacuate import EVACUATE
from nova_async.conductor.workflows.live_migration import LIVE_MIGRATION
from nova_async.conductor.workflows.rebuild import REBUILD
from nova_async.conductor.workflows.rescue import RESCUE, UNRESCUE
from nova_async.conductor.workflows.resize_end import CONFIRM, REVERT
from nova_async.conductor.workflows.shelve import OFFLOAD, SHELVE, UNSHELVE
from nova_async.conductor.workflows.snapshot import CREATE_BACKUP, CREATE_IMAGE
from nova_async.conductor.workflows.soft_delete import RESTORE, SOFT_DELETE
from nova_async.workflow.steps import Definition

DEFINITIONS: list[Definition] = [
    CREATE,
    DELETE,
    *power.DEFINITIONS,
    REBUILD,
    CREATE_IMAGE,
    CREATE_BACKUP,
    RESCUE,
    UNRESCUE,
    SHELVE,
    OFFLOAD,
    UNSHELVE,
    *resize.DEFINITIONS,
    CONFIRM,
    REVERT,
    EVACUATE,
    LIVE_MIGRATION,
    *guest_actions.DEFINITIONS,
    SOFT_DELETE,
    RESTORE,
    *interfaces.DEFINITIONS,
    *volumes.DEFINITIONS,
    *volume_snapshots.DEFINITIONS,
]
