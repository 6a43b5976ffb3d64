"""Rescue: boot a server from a fresh disk of another image, with its own root disk beside it; and back."""

from typing import Any

import msgspec

from nova_async.bus.messages.compute import Rescue, Unrescue
from nova_async.conductor.parts import Run
from nova_async.conductor.proofs import proven
from nova_async.conductor.requests import check_image, check_place
from nova_async.conductor.servers import guest_now, host_of, instance_of, is_on, leave_to_host, note_fault, own_image
from nova_async.db import Connection, moves, placements
from nova_async.model import states
from nova_async.model.image_properties import renamed
from nova_async.model.power import PowerState
from nova_async.workflow.steps import Definition, step, steps


async def choose_image(run: Run) -> dict[str, Any]:
    """The image to boot from, which its host may have, and what the guest was."""
    image = await proven(run, await own_image(run, run.input.get("image_id")))
    await host_of(run)
    if run.input.get("image_id"):
        of_image = {"image_id": image.id, "disk_format": image.disk_format, "image_properties": renamed(image.properties)}
        async with run.parts.database.connection() as conn:
            await check_image(run, conn, await instance_of(run), **of_image)
    else:
        await check_place(run, await instance_of(run))
    return {"image": msgspec.to_builtins(image), "on": await is_on(run)}


async def boot_rescue(run: Run) -> None:
    instance = await instance_of(run)
    guest, image = await guest_now(run), run.results["choose_image"]["image"]
    await run.parts.commands.run(run, await host_of(run), Rescue, generation=instance.generation, guest=guest, image=image)


async def boot_own_disk(run: Run) -> None:
    """The undo: as the guest was."""
    instance, on = await instance_of(run), run.results["choose_image"]["on"]
    guest = await guest_now(run)
    await leave_to_host(run, await host_of(run), Unrescue, generation=instance.generation, undo=True, guest=guest, power_on=on)


async def rescued(run: Run, conn: Connection) -> None:
    await placements.set_state(conn, run.subject_id, states.RESCUED, PowerState.RUNNING)
    await moves.remember(conn, run.subject_id, {"rescue_image": run.results["choose_image"]["image"] | {"proof": None}})


async def leave_rescue(run: Run) -> None:
    instance, guest = await instance_of(run), await guest_now(run)
    await run.parts.commands.run(run, await host_of(run), Unrescue, generation=instance.generation, guest=guest)


async def boot_rescue_again(run: Run) -> None:
    """The undo: the server stays in rescue."""
    instance = await instance_of(run)
    image = instance.system_metadata.get("rescue_image") or msgspec.to_builtins(await own_image(run, None))
    guest = await guest_now(run)
    await leave_to_host(run, await host_of(run), Rescue, generation=instance.generation, undo=True, guest=guest, image=image)


async def unrescued(run: Run, conn: Connection) -> None:
    await placements.set_state(conn, run.subject_id, states.ACTIVE, PowerState.RUNNING)
    await moves.remember(conn, run.subject_id, {"rescue_image": None})


RESCUE = Definition(
    kind="rescue",
    steps=steps(
        step(choose_image, task_state=states.RESCUING, deadline=120),
        step(boot_rescue, undo=boot_own_disk, task_state=states.RESCUING, deadline=1800),
        step(rescued, task_state=states.RESCUING, deadline=120, in_transaction=True, point_of_no_return=True, joined=True),
    ),
    failed=note_fault,
)
UNRESCUE = Definition(
    kind="unrescue",
    steps=steps(
        step(leave_rescue, undo=boot_rescue_again, task_state=states.UNRESCUING, deadline=600),
        step(unrescued, task_state=states.UNRESCUING, deadline=120, in_transaction=True, point_of_no_return=True, joined=True),
    ),
    failed=note_fault,
)
