"""A look, before a host is claimed, at which hosts reach the networks of a server: with a Neutron, some may be routed ones."""

import msgspec

from nova_async.conductor.parts import Run
from nova_async.conductor.servers import instance_of
from nova_async.model import states
from nova_async.scheduler.request import CLAIMS
from nova_async.services.network import NetworkRequest
from nova_async.workflow.steps import Definition, step, steps


async def reach_networks(run: Run) -> dict[str, list[str]]:
    """See ``NetworkService.reach``. A server that is not a new one has its ports."""
    instance = await instance_of(run)
    asked = instance.network_requests if instance.vm_state == states.BUILDING else []
    requests = [msgspec.convert(request, NetworkRequest) for request in asked]
    return await run.parts.networks.reach(run.ctx, instance_id=instance.uuid, requests=requests)


def looking_first(definition: Definition) -> Definition:
    """With the look in front, if it begins with the claim of a host."""
    first = definition.steps[0]
    if first.name not in CLAIMS:
        return definition
    return msgspec.structs.replace(
        definition, steps=steps(step(reach_networks, task_state=first.task_state, deadline=120), *definition.steps)
    )
