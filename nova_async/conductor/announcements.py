"""Which notifications an operation raises, and when.

A moment is ``begin``, ``after:<step>``, ``back:<step>`` (it turns back there), ``back``, ``abort`` (turned back by a signal), or the end:
``done``, ``failed``, ``cancelled``.
"""

from typing import Any

from nova_async.conductor.workflows.shelve import keeps_host
from nova_async.context import Context
from nova_async.db import Connection
from nova_async.db.workflows import Move
from nova_async.notifications.outbox import Outbox
from nova_async.notifications.publisher import Publisher
from nova_async.workflow.row import WorkflowRow
from nova_async.workflow.run import Run

Moments = dict[str, tuple[str, ...]]


def phases(name: str, *before: str, fails: bool = False) -> Moments:
    """Told when it begins and when it is done; ``fails``: also when it could not be done."""
    told: dict[str, tuple[str, ...]] = {"begin": (*before, f"{name}.start"), "done": (f"{name}.end",)}
    return told | {"failed": (f"{name}.error",)} if fails else told


_MOVE: Moments = {
    "begin": ("resize_prep.start",),
    "after:claim_destination": ("resize_prep.end", "resize.start"),
    "after:send_disk": ("resize.end",),
    "after:bind_ports": ("resize_finish.start",),
    "back:claim_destination": ("compute_task.migrate_server.error",),
    "done": ("resize_finish.end",),
    "failed": ("resize.error",),
}
ANNOUNCED: dict[str, Moments] = {
    "create": phases("create", "scheduler.select_destinations.start", fails=True)
    | {"after:claim_host": ("scheduler.select_destinations.end",), "back:claim_host": ("compute_task.build_instances.error",)},
    "delete": {"begin": ("delete.start", "shutdown.start"), "after:destroy_guest": ("shutdown.end",), "done": ("delete.end",)},
    "start": phases("power_on"),
    "stop": phases("power_off"),
    "reboot": phases("reboot", fails=True),
    "pause": phases("pause"),
    "unpause": phases("unpause"),
    "suspend": phases("suspend"),
    "resume": phases("resume"),
    "rebuild": phases("rebuild", "rebuild_scheduled", "exists", fails=True),
    "createImage": phases("snapshot"),
    "createBackup": phases("snapshot"),
    "rescue": phases("rescue", "exists"),
    "unrescue": phases("unrescue"),
    "shelve": {"begin": ("shelve.start",), "after:shelved": ("shelve.end", "shelve_offload.start"), "done": ("shelve_offload.end",)},
    "shelveOffload": phases("shelve_offload"),
    "unshelve": phases("unshelve"),
    "resize": _MOVE,
    "migrate": _MOVE,
    "confirmResize": phases("resize_confirm"),
    "revertResize": phases("resize_revert"),
    "evacuate": phases("rebuild", "evacuate", fails=True) | {"back:claim_host": ("compute_task.rebuild_server.error",)},
    "live-migration": {
        "after:claim_destination": ("live_migration_pre.start",),
        "after:prepare": ("live_migration_pre.end",),
        "after:arrive": ("live_migration_post.start",),
        "after:bind_ports": ("live_migration_post_dest.start",),
        "after:finish": ("live_migration_post_dest.end",),
        "done": ("live_migration_post.end",),
        "abort": ("live_migration_abort.start",),
        "back": ("live_migration_rollback.start", "live_migration_rollback_dest.start"),
        "failed": ("live_migration_rollback_dest.end", "live_migration_rollback.end"),
        "cancelled": ("live_migration_rollback_dest.end", "live_migration_rollback.end", "live_migration_abort.end"),
        "back:claim_destination": ("compute_task.migrate_server.error",),
    },
    "changePassword": {},  # Nova tells nobody
    "trigger_crash_dump": phases("trigger_crash_dump"),
    "softDelete": phases("soft_delete"),
    "restore": phases("restore"),
    "attach_interface": phases("interface_attach", fails=True),
    "detach_interface": phases("interface_detach"),
    "attach_volume": phases("volume_attach", fails=True),
    "detach_volume": phases("volume_detach"),
    "swap_volume": phases("volume_swap", fails=True),
    "extend_volume": {},  # nor of these
    "create_volume_snapshot": {},
    "delete_volume_snapshot": {},
}
RECORDED = {"lock": ("instance.lock",), "unlock": ("instance.unlock",)}
ELSEWHERE = ("scheduler.", "compute_task.")
SHOWN_INPUT = ("image_id", "flavor", "volume_id", "old_volume_id", "new_volume_id")


class Announcer:
    """The engine's witness. ``publisher`` is woken as rows come; it looks again soon in any case."""

    def __init__(self, outbox: Outbox, publisher: Publisher) -> None:
        self.outbox, self.publisher = outbox, publisher

    async def begun(self, conn: Connection, row: WorkflowRow) -> None:
        names = named(ANNOUNCED.get(row.kind, {}).get("begin", ()))
        if self.outbox.config.notify_on_state_change == "vm_and_task_state" and row.task_state:
            names.append("instance.update")
        ctx = Context(request_id=row.request_id, user_id=row.context.get("user_id", ""), project_id=row.context.get("project_id", ""))
        await self._tell(conn, names, row.subject_id, ctx, row.input, row.task_state, state_update={"new_task_state": row.task_state})

    async def recorded(self, conn: Connection, ctx: Context, kind: str, subject_id: str) -> None:
        await self._tell(conn, list(RECORDED.get(kind, ())), subject_id, ctx, {}, None)

    async def moved(self, conn: Connection, run: Run[Any], move: Move) -> None:
        told = ANNOUNCED.get(run.row.kind, {})
        names = named(name for moment in moments(run, move) for name in told.get(moment, ()))
        if run.row.kind == "shelve" and keeps_host(run):
            names = [name for name in names if "offload" not in name]
        error = _failed_event(move)
        if error:
            names.append("compute.exception")
        changed = move.task_state != run.row.task_state
        if self._tells_states() and (changed or move.state in ("done", "failed", "cancelled")):
            names.append("instance.update")
        update = {"old_state": run.told_state, "old_task_state": run.row.task_state, "new_task_state": move.task_state}
        fault = move.error or error
        state = await self._tell(conn, names, run.subject_id, run.ctx, run.input, move.task_state, error=fault, state_update=update)
        run.told_state = state or run.told_state

    def _tells_states(self) -> bool:
        return bool(self.outbox.config.notify_on_state_change)

    async def _tell(
        self, conn: Connection, names: list[str], server: str, ctx: Context, input: dict[str, Any], task_state: str | None, **facts: Any
    ) -> str | None:
        if not names:
            return None
        shown = {name: input[name] for name in SHOWN_INPUT if name in input}
        self.publisher.wake()
        return await self.outbox.tell_of_server(conn, names, server, ctx, task_state=task_state, **shown, **facts)


def named(names: Any) -> list[str]:
    return [name if name.startswith(ELSEWHERE) else f"instance.{name}" for name in names]


def moments(run: Run[Any], move: Move) -> list[str]:
    """What this move means, in the order in which it happened."""
    found = [f"after:{event['event'].partition('_')[2]}" for event in move.events if event["result"] == "Success"]
    if run.row.state != "undoing" and move.state == "undoing":
        found += [*(["abort"] if run.row.signal else []), f"back:{move.step}", "back"]
    if move.state in ("done", "failed", "cancelled"):
        found.append(move.state)
    return found


def _failed_event(move: Move) -> dict[str, Any] | None:
    event = next((e for e in move.events if e["result"] == "Error"), None)
    if event is None:
        return None
    kind = (move.error or {}).get("kind", "Error")
    return {"kind": kind, "message": event.get("message", ""), "detail": event.get("traceback"), "step": event["event"].partition("_")[2]}
