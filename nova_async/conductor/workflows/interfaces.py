"""Network cards that come and go while a server lives."""

from typing import Any

import msgspec

from nova_async import errors
from nova_async.bus.messages.compute import AttachPort, DetachPort
from nova_async.conductor.parts import Run
from nova_async.conductor.servers import guest_now, host_of, instance_of, leave_to_host, note_fault
from nova_async.db import Connection, moves
from nova_async.model.guests import PortSpec
from nova_async.services.network import NetworkRequest
from nova_async.workflow.steps import Definition, step, steps


async def choose_position(run: Run) -> dict[str, int]:
    """The card's place after all that there were: positions of cards that went are not used again."""
    instance = await instance_of(run)
    await host_of(run)
    used = int(instance.system_metadata.get("next_card") or 0)
    return {"position": max(used, len(instance.network_requests), len(instance.ports))}


async def bind_port(run: Run) -> dict[str, Any]:
    """Make the port, or take the user's own, and bind it to the host. The result has all ports, and the new one."""
    instance, position = await instance_of(run), run.results["choose_position"]["position"]
    before = {p["id"] for p in instance.ports}
    ports = await run.parts.networks.bind(
        run.ctx,
        instance_id=instance.uuid,
        hostname=instance.hostname,
        host=await host_of(run),
        availability_zone=instance.availability_zone or "",
        requests=[msgspec.convert(run.input["wish"], NetworkRequest)],
        security_groups=instance.security_groups,
        first_position=position,
    )
    new = next((p for p in ports if p.id not in before), None)
    if new is None:
        raise errors.Conflict("The port is the server's already.")
    return {"ports": [msgspec.to_builtins(p) for p in ports], "port": msgspec.to_builtins(new)}


async def unbind_port(run: Run) -> None:
    """The undo; without a result the port is found by what the server did not have before."""
    instance = await instance_of(run)
    before = {p["id"] for p in instance.ports}
    for port in await run.parts.networks.ports(run.ctx, instance_id=instance.uuid):
        if port.id not in before:
            await run.parts.networks.unbind(run.ctx, instance_id=instance.uuid, port_id=port.id)


async def plug_port(run: Run) -> None:
    instance, bound = await instance_of(run), run.results["bind_port"]
    guest = await guest_now(run, ports=bound["ports"])
    await run.parts.commands.run(
        run, await host_of(run), AttachPort, generation=instance.generation, guest=guest, port_id=bound["port"]["id"]
    )


async def pull_port(run: Run) -> None:
    instance, bound = await instance_of(run), run.results["bind_port"]
    guest = await guest_now(run)
    await leave_to_host(run, await host_of(run), DetachPort, generation=instance.generation, undo=True, guest=guest, port=bound["port"])


async def attached(run: Run, conn: Connection) -> None:
    instance = await instance_of(run, conn)
    requests = [*instance.network_requests, run.input["wish"]]
    await moves.shown_ports(conn, run.subject_id, run.results["bind_port"]["ports"], requests)
    await moves.remember(conn, run.subject_id, {"next_card": run.results["choose_position"]["position"] + 1})


async def find_port(run: Run) -> dict[str, Any]:
    instance = await instance_of(run)
    await host_of(run)
    port = next((p for p in instance.ports if p["id"] == run.input["port_id"]), None)
    if port is None:
        raise errors.NotFound(f"Port {run.input['port_id']} is not attached to the server.")
    return {"port": port, "left": [p for p in instance.ports if p["id"] != port["id"]]}


async def unplug_port(run: Run) -> None:
    instance, found = await instance_of(run), run.results["find_port"]
    guest = await guest_now(run, ports=found["left"])
    await run.parts.commands.run(
        run, await host_of(run), DetachPort, generation=instance.generation, guest=guest, port=msgspec.convert(found["port"], PortSpec)
    )


async def plug_again(run: Run) -> None:
    instance, found = await instance_of(run), run.results["find_port"]
    guest = await guest_now(run)
    await leave_to_host(
        run, await host_of(run), AttachPort, generation=instance.generation, undo=True, guest=guest, port_id=found["port"]["id"]
    )


async def detached(run: Run, conn: Connection) -> None:
    """The guest has it no more: from here on it goes. The server's wishes stay, so that positions keep their meaning."""
    await moves.shown_ports(conn, run.subject_id, run.results["find_port"]["left"])


async def free_port(run: Run) -> None:
    await run.parts.networks.unbind(run.ctx, instance_id=run.subject_id, port_id=run.input["port_id"])


DEFINITIONS = [
    Definition(
        kind="attach_interface",
        steps=steps(
            step(choose_position, deadline=120),
            step(bind_port, undo=unbind_port, deadline=120),
            step(plug_port, undo=pull_port, deadline=120),
            step(attached, deadline=120, in_transaction=True, point_of_no_return=True, joined=True),
        ),
        failed=note_fault,
    ),
    Definition(
        kind="detach_interface",
        steps=steps(
            step(find_port, deadline=120),
            step(unplug_port, undo=plug_again, deadline=300),
            step(detached, deadline=120, in_transaction=True, point_of_no_return=True, joined=True),
            step(free_port, deadline=120),
        ),
        failed=note_fault,
    ),
]
