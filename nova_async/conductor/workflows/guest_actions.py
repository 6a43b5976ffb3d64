"""What is done inside a guest, and leaves the server as it was: a new password, a crash dump."""

from typing import Any

from nova_async.bus.messages.compute import CrashDump, SetPassword
from nova_async.conductor.parts import Run
from nova_async.conductor.servers import guest_now, host_of, instance_of, note_fault
from nova_async.db import Connection, instances
from nova_async.model import states
from nova_async.workflow.steps import Definition, step, steps


async def set_password(run: Run) -> dict[str, Any]:
    """The password travels sealed for the host (``sealed.py``); no row and no queue holds it in clear."""
    instance, guest = await instance_of(run), await guest_now(run)
    fields = {"guest": guest, "sealed": run.input["sealed"], "public_key": str((instance.key_data or {}).get("public_key", ""))}
    return await run.parts.commands.run(run, await host_of(run), SetPassword, generation=instance.generation, **fields)


async def keep_password(run: Run, conn: Connection) -> None:
    """For who has the server's private key, if it is one that can be encrypted with."""
    if encrypted := run.results["set_password"].get("encrypted"):
        await instances.change(conn, run.subject_id, password_data=encrypted)


async def crash_guest(run: Run) -> None:
    instance = await instance_of(run)
    await run.parts.commands.run(run, await host_of(run), CrashDump, generation=instance.generation)


DEFINITIONS = [
    Definition(
        kind="changePassword",
        steps=steps(
            step(set_password, task_state=states.UPDATING_PASSWORD, deadline=120),
            step(keep_password, task_state=states.UPDATING_PASSWORD, deadline=120, in_transaction=True, joined=True),
        ),
        failed=note_fault,
    ),
    Definition(kind="trigger_crash_dump", steps=steps(step(crash_guest, deadline=120)), failed=note_fault),
]
