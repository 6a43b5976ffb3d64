"""What must be true whatever broke: one function that looks and names every violation.

Names are those of the project's list of invariants. ``settled``: no fault is active and nothing was asked for a while,
so open operations and unfinished servers are violations too.
"""

from nova_async.bus import Bus
from nova_async.bus.messages.compute import GuestList, ListGuests
from nova_async.db import Database, instances, moves, placements, server_groups, server_volumes, topologies
from nova_async.model import states
from nova_async.model.power import PowerState

HAVE_GUESTS = (
    states.ACTIVE,
    states.PAUSED,
    states.STOPPED,
    states.SUSPENDED,
    states.RESCUED,
    states.RESIZED,
    states.SHELVED,
    states.SOFT_DELETED,
)


async def check_invariants(
    database: Database, bus: Bus | None = None, live_hosts: list[str] | None = None, *, settled: bool = True
) -> list[str]:
    """All violations in words; empty when all is well. ``live_hosts`` are asked for their guests over ``bus``."""
    found: list[str] = []
    async with database.connection() as conn:
        for b in await placements.imbalances(conn):
            found.append(f"INV-20 {b.host} {b.resource_class}: used {b.used}, claims {b.claimed}, capacity {b.capacity}")
        found += [f"INV-24 {p.instance_id}: {p.problem}" for p in await server_volumes.violations(conn) if settled]
        found += [f"INV-23 group {p.instance_id}: {p.problem}" for p in await server_groups.violations(conn)]
        found += [f"INV-20 {p.instance_id}: {p.problem}" for p in await topologies.violations(conn)]
        if settled:
            found += [f"INV-02 {p.instance_id}: {p.problem}" for p in await placements.unsettled(conn)]
            found += [f"INV-21 {p.instance_id}: {p.problem}" for p in await placements.unclaimed(conn)]
    if bus is not None:
        answers = [await bus.call(f"compute.{host}", ListGuests(), timeout=10) for host in live_hosts or []]
        found += await _places(database, [a for a in answers if isinstance(a, GuestList)], settled)
    return found


async def _places(database: Database, lists: list[GuestList], settled: bool) -> list[str]:
    found = []
    where: dict[str, list[str]] = {}
    for answer in lists:
        for guest in answer.guests:
            if guest.power_state == PowerState.RUNNING or (settled and guest.power_state == PowerState.PAUSED):
                where.setdefault(guest.instance_id, []).append(answer.host)
        if settled:
            found += [f"INV-25 {answer.host}: files of {name} belong to no guest" for name in answer.stray_files]
    found += [f"INV-10 {server} runs on {' and '.join(hosts)}" for server, hosts in where.items() if len(hosts) > 1]
    if not settled:
        return found
    async with database.connection() as conn:
        for answer in lists:
            here = {g.instance_id: g for g in answer.guests}
            rows = {p.uuid: p for p in await placements.on_host(conn, answer.host)}
            left = await moves.left_on(conn, answer.host)
            waiting = {s for s, generation in left.items() if s in here and here[s].generation == generation}
            found += [f"INV-13 {answer.host} has {s}, which has no live row there" for s in here.keys() - rows.keys() - waiting]
            found += [
                f"INV-13 {s} was resized away from {answer.host}, where its guest is not kept" for s in left.keys() - waiting - rows.keys()
            ]
            for server, row in rows.items():
                seen = here.get(server)
                if seen is None and row.vm_state in HAVE_GUESTS:
                    found.append(f"INV-13 {server} is {row.vm_state} on {answer.host}, which has no such guest")
                elif seen is not None and row.vm_state in (states.ACTIVE, states.RESCUED) and seen.power_state != PowerState.RUNNING:
                    found.append(f"INV-14 {server} is active, its guest's power state is {seen.power_state}")
                elif seen is not None and seen.generation != row.generation:
                    found.append(f"INV-11 {server}: the guest's placement is {seen.generation}, the row's {row.generation}")
            known = await instances.by_ids(conn, list(here.keys() & rows.keys()))
            for server, instance in known.items():
                wanted, has = {d["volume_id"] for d in instance.volumes if d.get("attachment_id")}, here[server].volumes
                if has is not None and set(has) != wanted:
                    found.append(f"INV-24 {server}: its row has volumes {sorted(wanted)}, its guest {sorted(has)}")
    return found
