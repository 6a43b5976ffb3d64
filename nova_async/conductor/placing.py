"""Taking a host for a server: the scheduler ranks, one statement claims, a lost race is run again."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol, TypeVar

import msgspec

from nova_async import errors
from nova_async.conductor.parts import Run
from nova_async.conductor.proofs import VERIFIES, asks_for_proof
from nova_async.conductor.requests import claimed_by, request_for
from nova_async.conductor.servers import instance_of
from nova_async.db import Connection, hosts, moves, topologies
from nova_async.scheduler import numa
from nova_async.scheduler.decide import CAPACITY, LAST
from nova_async.scheduler.guest_topology import Wish
from nova_async.scheduler.hosts import HostTable
from nova_async.scheduler.request import Candidate, Decision, Request
from nova_async.workflow.steps import GiveUp

RACES = 5  # decisions before we believe that no host has room
MOST_OUTDATED = 200  # hosts that are read anew before a server is told that none has room


class Taken(Protocol):
    host_id: str


T = TypeVar("T", bound=Taken)


async def take_host(
    run: Run, conn: Connection, request: Request, generation: int, take: Callable[[list[Candidate]], Awaitable[T | None]]
) -> tuple[T, Decision]:
    """Let ``take`` claim one of the best hosts for a placement. Raises ``GiveUp`` with the reasons per host when none has room.

    A server with NUMA cells, CPUs or devices of its own gets them with the claim.
    Raises ``Unavailable``, to be tried again, while hosts that may have room have not reported yet.
    """
    scheduler, looked = run.parts.scheduler, False
    if asks_for_proof(run, await instance_of(run, conn)):
        request = msgspec.structs.replace(request, required_traits=request.required_traits | {VERIFIES})
    for _ in range(RACES):
        decision = scheduler.decide(request)
        if not decision.candidates:
            outdated = [] if looked else await _outdated(conn, scheduler.table, request, decision)
            if not outdated:
                break
            scheduler.table.load(await hosts.all(conn, outdated))
            looked = True
            continue
        exact = request.topology is not None or request.devices
        claim = partial(take_fitting, run, conn, request, generation, take) if exact else take
        taken = await claim(decision.candidates)
        if taken is not None:
            scheduler.table.took(taken.host_id, request.resources)
            scheduler.table.began(run.id, taken.host_id)
            return taken, decision
        scheduler.table.load(await hosts.all(conn, [c.host for c in decision.candidates]))  # our view was out of date
    if not scheduler.table.is_complete():
        raise errors.Unavailable("Not all hosts have reported since this process started.")
    raise GiveUp(errors.NoCapacity(decision.summary(), detail=_host_by_host(run, decision)), {"decision": msgspec.to_builtins(decision)})


async def _outdated(conn: Connection, table: HostTable, request: Request, decision: Decision) -> list[str]:
    """Hosts that may have room though our view says no: other processes give back what we do not hear of."""
    if not decision.counts.keys() & {CAPACITY, *LAST}:
        return []
    fits = table.fitting(request.resources)
    roomy = [table.by_name[name] for name in await hosts.with_room(conn, request.resources) if name in table.by_name]
    exact = [host for host, refusal in decision.refusals.items() if refusal.filter in LAST]
    return [*(state.name for state in roomy if not fits[state.index]), *exact][:MOST_OUTDATED]


async def take_fitting(
    run: Run,
    conn: Connection,
    request: Request,
    generation: int,
    take: Callable[[list[Candidate]], Awaitable[T | None]],
    candidates: list[Candidate],
) -> T | None:
    """Host by host, what is free there is looked at again under the host's lock. None: no candidate has room any more."""
    if await topologies.of(conn, request.instance_id, generation) is not None:  # this step has run before: the claim is found
        return await take(candidates)
    for candidate in candidates:
        state = run.parts.scheduler.table.by_id[candidate.host_id]
        try:
            async with conn.transaction():
                host, fits = await topologies.held(conn, candidate.host_id)
                fit = numa.fit(host, numa.Used(fits), request.topology, request.devices, state.ratios)
                taken = None if isinstance(fit, str) else await take([candidate])
                if isinstance(fit, str) or taken is None:
                    raise _NoRoom
                await topologies.insert(conn, request.instance_id, generation, candidate.host_id, fit)
        except _NoRoom:  # the block's locks and claims are given back
            continue
        run.parts.scheduler.table.fitted(candidate.host_id, fit)
        return taken
    return None


class _NoRoom(Exception):
    """The candidate has no room any more."""


async def gave_back(run: Run, conn: Connection, host_id: str, flavor: dict[str, Any] | None = None) -> None:
    """A claim of this server was released: the scheduler may give the room away. ``flavor``: what was claimed, if not the present one."""
    instance, table = await instance_of(run, conn), run.parts.scheduler.table
    wish = Wish(flavor or instance.flavor, instance.image_properties)
    if wish.says_nothing():
        table.took(host_id, claimed_by(instance, flavor), -1)
    elif state := table.by_id.get(host_id):  # what it had of cells and devices is known to the rows alone
        table.load(await hosts.all(conn, [state.name]))


def told(tried: dict[str, str]) -> str:
    """Hosts and what happened there."""
    return "; ".join(f"{host}: {why}" for host, why in tried.items())


def _host_by_host(run: Run, decision: Decision) -> str | None:
    """What the hosts were refused for, and what happened on those that were tried before; None where there is no host at all."""
    refused = {host: f"{refusal.filter}: {refusal.reason}" for host, refusal in decision.refusals.items()}
    return told(refused | run.memory.get("tried", {})) or None


async def request_to_move(run: Run, conn: Connection, flavor: dict[str, Any], ignored: dict[str, str]) -> Request:
    """As for a new server, but where its owner forced or wished it to be at first counts no more; the operator's ``host`` does."""
    instance = await instance_of(run, conn)
    request = await request_for(run, conn, msgspec.structs.replace(instance, flavor=flavor))
    forced = run.input.get("host") if run.input.get("force") else None
    return msgspec.structs.replace(
        request,
        forced_host=forced,
        forced_node=None,
        requested_host=None if forced else run.input.get("host"),
        requested_node=None,
        ignored_hosts={**request.ignored_hosts, **ignored},
        cell=_cell_of(run, instance.host_id),
    )


def _cell_of(run: Run, host_id: str | None) -> str | None:
    state = run.parts.scheduler.table.by_id.get(host_id or "")
    return state.row.cell if state else None


async def claim_beside(run: Run, conn: Connection, flavor: dict[str, Any], *, may_stay: bool = False) -> dict[str, Any]:
    """Claim a host for the server's next placement, while it stays where it is.

    Returns the destination's fields, its ``generation``, ``source`` with the same of the present place, and ``same_host``;
    ``back`` is the placement under which the server goes on at its source when the move fails.
    """
    state = await moves.state(conn, run.subject_id)
    if state.host is None or state.host_id is None:
        raise errors.Conflict("The server is on no host.")
    request = await request_to_move(run, conn, flavor, {} if may_stay else {state.host: "the server is there now"})
    generation = state.newest + 1

    async def take(candidates: list[Candidate]) -> moves.Destination | None:
        return await moves.claim(conn, run.subject_id, generation, candidates, request.resources, generation + 1)

    taken, decision = await take_host(run, conn, request, generation, take)
    run.parts.scheduler.table.began(run.id, state.host_id)
    same = taken.host == state.host
    source = {
        "host_id": state.host_id,
        "host": state.host,
        "node": state.node,
        "availability_zone": state.availability_zone,
        "generation": state.generation,
    }
    return {
        **msgspec.to_builtins(taken),
        "generation": generation,
        "source": source,
        "same_host": same,
        "back": generation + 1 if same else state.generation,
        "old_flavor_id": state.flavor_id,
        "new_flavor_id": flavor.get("id", state.flavor_id),
        "decision": msgspec.to_builtins(decision),
    }


async def release_beside(run: Run, conn: Connection, claimed: dict[str, Any], flavor: dict[str, Any]) -> None:
    """Give the claim of a failed move back. Its source may know the server by a later placement now."""
    await moves.release_one(conn, run.subject_id, claimed["generation"])
    if claimed["back"] != claimed["source"]["generation"]:
        await moves.restamp(conn, run.subject_id, claimed["source"]["generation"], claimed["back"])
    await gave_back(run, conn, claimed["host_id"], flavor)
    run.memo.clear()
