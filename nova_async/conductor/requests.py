"""What is asked of the scheduler for one server: its flavor and image, what its owner wished, and where its group is."""

from typing import Any

import msgspec

from nova_async.conductor.parts import Run
from nova_async.db import Connection, placements, server_groups
from nova_async.errors import NoCapacity, Unavailable
from nova_async.model.image_properties import renamed
from nova_async.model.instances import Instance
from nova_async.scheduler.guest_topology import devices, topology
from nova_async.scheduler.request import Request
from nova_async.scheduler.resources import resources_of, traits_of
from nova_async.workflow.steps import GiveUp


async def request_for(run: Run, conn: Connection, instance: Instance) -> Request:
    """To be asked in the transaction that claims: until it ends, no other member of the server's group is placed (INV-23)."""
    extra_specs = instance.flavor.get("extra_specs") or {}
    placement = run.input.get("placement") or instance.system_metadata.get("placement") or {}
    hints = instance.scheduler_hints
    return Request(
        instance_id=instance.uuid,
        project_id=instance.project_id,
        resources=claimed_by(instance),
        required_traits=traits_of(extra_specs, "required"),
        forbidden_traits=traits_of(extra_specs, "forbidden"),
        zone=instance.pinned_zone,
        forced_host=placement.get("forced_host"),
        forced_node=placement.get("forced_node"),
        requested_host=placement.get("requested_host"),
        requested_node=placement.get("requested_node"),
        ignored_hosts=run.memory.get("tried", {}),
        flavor_name=instance.flavor.get("name", ""),
        extra_specs=extra_specs,
        image_id=instance.image_id,
        disk_format=(instance.system_metadata.get("image") or {}).get("disk_format"),
        image_properties=renamed(instance.image_properties),
        hints=hints,
        hosts_of=await placements.hosts_of(conn, named) if (named := _named(hints)) else {},
        group=await server_groups.placed(conn, instance.uuid) if hints.get("group") else None,
        topology=topology(instance.flavor, instance.image_properties),
        devices=devices(instance.flavor, instance.image_properties, run.parts.config.pci.alias),
        wires=frozenset(card["wires"] for card in instance.ports or instance.network_requests if card.get("wires")),
        reached=run.results.get("reach_networks") or {},
        alike=await _alike(run, conn, instance) if run.parts.scheduler.compares_images else {},
    )


async def check_image(run: Run, conn: Connection, instance: Instance, **of_image: Any) -> None:
    """Where the server is, what the operator's rules say of images on hosts holds for another image too.

    ``of_image``: what a request says of that image otherwise than the row. Raises ``GiveUp``, and ``Unavailable`` where nobody can tell.
    """
    host = run.parts.scheduler.table.by_name.get(instance.host or "")
    if host is None:
        raise Unavailable("The server's host has not reported since this process started.")
    request = msgspec.structs.replace(await request_for(run, conn, instance), **of_image)
    reasons = run.parts.scheduler.keeps_out(host, request)
    if reasons:
        raise GiveUp(NoCapacity(f"The server's host may not have this image: {_told(reasons)}."), {"refused": reasons})


async def check_place(run: Run, instance: Instance, conn: Connection | None = None) -> None:
    """Before a guest is brought up again where it is: its host has what flavor and image require, by the traits and rules of now.

    Raises ``GiveUp``. A host that nobody knows is not asked about, and not told anything either.
    """
    host = run.parts.scheduler.table.by_name.get(instance.host or "")
    if host is None:
        return
    if conn is None:
        async with run.parts.database.connection() as own:
            return await check_place(run, instance, own)
    request = await request_for(run, conn, instance)
    reasons = run.parts.scheduler.keeps_out(host, request, forced=bool(request.forced_host or request.forced_node))
    if reasons:
        raise GiveUp(NoCapacity(f"The server's host may not run it any more: {_told(reasons)}."), {"refused": reasons})


def claimed_by(instance: Instance, flavor: dict[str, Any] | None = None) -> dict[str, int]:
    """What a server takes of its host: one that boots from a volume has no root disk there. ``flavor``: if not the present one."""
    sizes = flavor or instance.flavor
    if instance.root_volume is not None:
        sizes = sizes | {"root_gb": 0}
    return resources_of(sizes, instance.image_properties)


def _told(reasons: dict[str, str]) -> str:
    return "; ".join(f"{name} ({why})" for name, why in reasons.items())


def _named(hints: dict[str, Any]) -> list[str]:
    """Servers that hints name."""
    named: list[str] = []
    for hint in ("different_host", "same_host"):
        value = hints.get(hint) or []
        named += [value] if isinstance(value, str) else value
    return named


async def _alike(run: Run, conn: Connection, instance: Instance) -> dict[str, float]:
    """Host to the sum, over its servers, of the weights of image properties that they share with this server."""
    weights = run.parts.config.scheduler.image_property_weights
    wanted = {name: value for name, value in instance.image_properties.items() if name in weights or not weights}
    found: dict[str, float] = {}
    for shared in await placements.alike(conn, wanted) if wanted else ():
        found[shared.host] = found.get(shared.host, 0.0) + weights.get(shared.name, 1.0) * shared.servers
    return found
