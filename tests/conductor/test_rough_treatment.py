"""Every registered workflow, every step, every way to be treated badly; then nothing is left over.

No step can be added without being swept: the registry of definitions is the source.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from nova_async.conductor.workflows import DEFINITIONS, snapshot
from nova_async.db import Database
from nova_async.sealed import seal
from nova_async.workflow.faults import FaultPoints
from nova_async.workflow.steps import Definition, Step
from tests.cloud import USER, Cloud, cloud, device

STEPS = [pytest.param(d, s, id=f"{d.kind}-{s.name}") for d in DEFINITIONS for s in d.steps]
BEFORE = {  # what a server must have gone through before the operation may begin
    "create": (),
    "start": ("create", "stop"),
    "unpause": ("create", "pause"),
    "resume": ("create", "suspend"),
    "unrescue": ("create", "rescue"),
    "shelveOffload": ("create", "shelve"),
    "unshelve": ("create", "shelve"),
    "restore": ("create", "softDelete"),
    "confirmResize": ("create", "resize"),
    "revertResize": ("create", "resize"),
    "detach_volume": ("create", "attach_volume"),
    "swap_volume": ("create", "attach_volume"),
    "extend_volume": ("create", "attach_volume"),
    "create_volume_snapshot": ("create", "attach_volume"),
    "delete_volume_snapshot": ("create", "attach_volume", "create_volume_snapshot"),
}
WAYS = {  # and where only that leads by a step
    ("delete", "destroy_old_guest"): ("create", "resize"),
    ("delete", "forget_shelf"): ("create", "shelve"),
}
ENDS = {  # where the server is when all went well
    **dict.fromkeys(("create", "start", "reboot", "unpause", "resume", "rebuild", "unrescue", "unshelve", "restore"), "active"),
    **dict.fromkeys(("createImage", "createBackup", "changePassword", "trigger_crash_dump"), "active"),
    **dict.fromkeys(("attach_interface", "detach_interface", "confirmResize", "revertResize", "live-migration", "evacuate"), "active"),
    **dict.fromkeys(("attach_volume", "detach_volume", "swap_volume", "extend_volume"), "active"),
    **dict.fromkeys(("create_volume_snapshot", "delete_volume_snapshot"), "active"),
    "stop": "stopped",
    "pause": "paused",
    "suspend": "suspended",
    "delete": "deleted",
    "rescue": "rescued",
    "shelve": "shelved_offloaded",
    "shelveOffload": "shelved_offloaded",
    "softDelete": "soft-delete",
    "resize": "resized",
    "migrate": "resized",
}
BREAK = {"create", "rebuild", "evacuate"}  # a failure leaves the server in error
FOLLOW = {"start", "stop", "reboot", "pause", "unpause", "suspend", "resume"}  # it is not undone: the row follows the guest


class Killed(BaseException):
    """As if the process had died: nothing is written any more."""


class Watched(FaultPoints):
    """Remembers which steps were come by: a case that never meets its step shows nothing."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__(faults)
        self.met: set[str] = set()

    def at(self, kind: str, step: str, moment: str) -> bool:
        self.met.add(f"{kind}/{step}")
        return super().at(kind, step, moment)


class Deaths(Watched):
    """Kills the workflow once, before or after a step."""

    def __init__(self, kind: str, step: str, moment: str, undo_from: str = "") -> None:
        super().__init__([f"{kind}/{undo_from}/after=fail"] if undo_from else [])
        self.place: tuple[str, str, str] | None = (kind, step, moment)

    def at(self, kind: str, step: str, moment: str) -> bool:
        if self.place == (kind, step, moment):
            self.place = None
            self.met.add(f"{kind}/{step}")
            raise Killed
        return super().at(kind, step, moment)


class Deletion(FaultPoints):
    """Lets the user delete the server once, as the workflow comes before or after a step."""

    def __init__(self, made: Cloud, server: str, kind: str, step: str, moment: str) -> None:
        super().__init__()
        self.made, self.server = made, server
        self.place: tuple[str, str, str] | None = (kind, step, moment)
        self.asked: asyncio.Task[str] | None = None

    def at(self, kind: str, step: str, moment: str) -> bool:
        if self.place == (kind, step, moment):
            self.place = None
            self.asked = asyncio.get_running_loop().create_task(self.made.begin("delete", self.server))
        return False


@pytest.fixture
async def one(database: Database, tmp_path: Path) -> AsyncIterator[Cloud]:
    async with cloud(database, tmp_path, hosts=2, conductor__lease_seconds=0.4, scheduler__max_attempts=1) as made:
        yield made
        assert await made.violations() == []
        left = await made.images.owned(USER, USER.project_id, {})
        assert [image.status for image in left if image.status != "active"] == []
        await made.volumes.jobs.idle()
        held = {
            d["volume_id"]: "in-use" if server.host else "reserved"
            for server in await made.servers()
            for d in server.volumes
            if d.get("attachment_id")
        }
        for volume in await made.volumes.find(USER):
            assert volume.status == held.get(volume.id, "available"), volume


def of_volumes(definition: Definition, step: Step) -> bool:
    """Whether only servers that run from a volume come by this step."""
    return definition.kind == "rebuild" or step.skip is snapshot.of_a_disk


async def prepared(made: Cloud, kind: str, from_volume: bool = False, step: str = "") -> str:
    """A server that may go through this, and comes by this step; what it is made to shelve stays on its host if offloaded later."""
    made.config.compute.shelved_offload_seconds = -1 if kind == "shelveOffload" else 0
    if from_volume or kind == "rebuild":  # no step of that is left out
        root = device(source="image", image_id=made.image_id, device="/dev/vda", boot_index=0)
        server = await made.insert(image_id=None, block_devices=[root])
    else:
        server = await made.insert(block_devices=[device()])
    for earlier in WAYS.get((kind, step)) or BEFORE.get(kind, ("create",)):
        await made.begin(earlier, server, **await given(made, earlier, server))
        await made.settle()
    if kind == "evacuate":
        await made.stop_host((await made.server(server)).host)
    return server


async def given(made: Cloud, kind: str, server: str) -> dict[str, Any]:
    """The input of the operation."""
    row = await made.server(server)
    match kind:
        case "createImage" | "createBackup" | "shelve":
            kinds = {"instance_uuid": server, "image_type": "backup", "backup_type": "daily"}
            of = "raw" if row.root_volume else "qcow2"
            image = await made.images.create(USER, "kept", disk_format=of, container_format="bare", properties=kinds)
            of_volumes = {"of_volumes": True} if row.root_volume else {}
            return {"image_id": image.id, "backup_type": "daily", "rotation": 1} | of_volumes
        case "rebuild":
            return {"image_id": made.image_id, "reimage": True} if row.root_volume else {}
        case "resize":
            return {"flavor": row.flavor | {"memory_mb": 1024, "vcpus": 2}}
        case "changePassword":
            return {"sealed": seal(await made.sealing_key(row.host), "secret")}
        case "attach_interface":
            [wish] = await made.networks.check(USER, None, [], 1)
            return {"wish": msgspec.to_builtins(wish)}
        case "detach_interface":
            return {"port_id": row.ports[0]["id"]}
        case "attach_volume":
            return {"device": device(source="volume", volume_id=await made.volume(), device="/dev/vdc", delete_on_termination=False)}
        case "detach_volume" | "extend_volume":
            return {"volume_id": row.volumes[-1]["volume_id"]}
        case "create_volume_snapshot" | "delete_volume_snapshot":
            volume = row.volumes[-1]["volume_id"]
            info = {"type": "qcow2", "new_file": f"{volume}.1", "file_to_merge": None, "merge_target_file": None}
            return {"volume_id": volume, "snapshot_id": server, "info": info}
        case "swap_volume":
            return {"old_volume_id": row.volumes[-1]["volume_id"], "new_volume_id": await made.volume(2), "new_size": 2}
    return {}


async def run(made: Cloud, definition: Definition, step: Step, faults: Watched) -> str:
    """Do the operation under these faults, which concern this step; the state in which the server ends."""
    kind = definition.kind
    server = await prepared(made, kind, of_volumes(definition, step), step.name)
    made.conductor.engine.faults = faults
    await made.begin(kind, server, **await given(made, kind, server))
    await made.settle()
    made.conductor.engine.faults = FaultPoints()
    row = await made.server(server)
    assert row.task_state is None
    assert f"{kind}/{step.name}" in faults.met
    if kind in ("createImage", "createBackup"):
        assert await state_of(made, kind) == ("done" if await images_of(made, server) else "failed")
    for host in made.drivers.keys() - made.workers.keys():
        await made.start_host(host)
    return "deleted" if row.deleted else row.vm_state


async def images_of(made: Cloud, server: str) -> int:
    return len(await made.images.owned(USER, USER.project_id, {"instance_uuid": server}))


async def state_of(made: Cloud, kind: str) -> str:
    """How the newest operation of this kind ended."""
    async with made.database.connection() as conn:
        return str(await conn.fetchval("SELECT state FROM workflows WHERE kind = $1 ORDER BY created_at DESC LIMIT 1", kind))


def goes_on(definition: Definition, step: Step) -> bool:
    """Whether there is no way back any more at this step."""
    earlier = definition.steps[: definition.index(step.name)]
    return definition.forced_through or any(s.point_of_no_return for s in earlier)


def truths(definition: Definition, step: Step, moment: str) -> set[str]:
    """Where a server may be after a failure. A host that has done its work is not always made to undo it: the row follows the guest."""
    kind = definition.kind
    done = moment == "after" or step.name != definition.steps[0].name
    if goes_on(definition, step) or (kind in FOLLOW and done):
        return {ENDS[kind]}
    if kind == "shelveOffload":
        return {"shelved"}
    return {"error" if kind in BREAK else ENDS[BEFORE.get(kind, ("create",))[-1]]}


@pytest.mark.parametrize(("definition", "step"), STEPS)
async def test_a_step_that_runs_twice_has_the_effect_of_one(one, definition, step):
    assert await run(one, definition, step, Watched([f"{definition.kind}/{step.name}/before=twice"])) == ENDS[definition.kind]


@pytest.mark.parametrize(("definition", "step"), STEPS)
async def test_a_step_that_fails_unwinds(one, definition, step):
    fault = "once-fail" if goes_on(definition, step) else "fail"
    for moment in ("before", "after"):
        if step.in_transaction and moment == "after":
            continue  # the effect is committed together with the move: there is no such moment
        ended = await run(one, definition, step, Watched([f"{definition.kind}/{step.name}/{moment}={fault}"]))
        assert ended in truths(definition, step, moment), moment


@pytest.mark.parametrize(("definition", "step"), [p for p in STEPS if not goes_on(*p.values)])
async def test_an_undo_that_runs_twice_has_the_effect_of_one(one, definition, step):
    faults = Watched([f"{definition.kind}/{step.name}/before=fail", f"{definition.kind}/*/undo-before=twice"])
    assert await run(one, definition, step, faults) in truths(definition, step, "before")


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda d: d.kind)
def test_what_only_goes_on_has_nothing_to_undo(definition):
    assert [s.name for s in definition.steps if s.undo and goes_on(definition, s)] == []


@pytest.mark.parametrize(("definition", "step"), STEPS)
async def test_a_death_at_a_step_is_survived(one, definition, step):
    for moment in ("before", "after"):
        assert await run(one, definition, step, Deaths(definition.kind, step.name, moment)) == ENDS[definition.kind], moment


@pytest.mark.parametrize(("definition", "step"), [p for p in STEPS if p.values[1].undo])
async def test_a_death_while_undoing_is_survived(one, definition, step):
    failing = next(s for s in reversed(definition.steps) if not s.in_transaction and not goes_on(definition, s))
    for moment in ("undo-before", "undo-after"):
        ended = await run(one, definition, step, Deaths(definition.kind, step.name, moment, undo_from=failing.name))
        assert ended in truths(definition, failing, "after"), moment


@pytest.mark.parametrize(("definition", "step"), [p for p in STEPS if p.values[0].kind not in ("delete", "softDelete")])
async def test_a_delete_at_any_moment_leaves_nothing(one, definition, step):
    for moment in ("before", "after"):
        if step.in_transaction and moment == "after":
            continue
        server = await prepared(one, definition.kind, of_volumes(definition, step))
        faults = one.conductor.engine.faults = Deletion(one, server, definition.kind, step.name, moment)
        await one.begin(definition.kind, server, **await given(one, definition.kind, server))
        await one.settle()
        assert faults.asked, moment
        await faults.asked
        for host in one.drivers.keys() - one.workers.keys():
            await one.start_host(host)
        await one.settle()
        row = await one.server(server)
        assert (row.deleted, row.task_state) == (True, None), moment
