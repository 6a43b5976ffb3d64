"""How the options divide a host's CPUs between guests that float and guests with CPUs of their own."""

import msgspec

from nova_async.config import Compute
from nova_async.model.topology import HostTopology, cpus_of, divided
from nova_async.virt.driver import HostFacts


def divide(facts: HostFacts, options: Compute) -> tuple[HostTopology, dict[str, int]]:
    """The topology and the inventory with ``cpu_shared_set`` (VCPU) and ``cpu_dedicated_set`` (PCPU) applied."""
    shared = cpus_of(options.cpu_shared_set) if options.cpu_shared_set else None
    dedicated = cpus_of(options.cpu_dedicated_set)
    if shared is None and not dedicated:
        return facts.topology, facts.inventory
    topology = msgspec.structs.replace(facts.topology, cells=divided(facts.topology.cells, shared, dedicated))
    counts = {
        "VCPU": sum(len(cell.shared) for cell in topology.cells),
        "PCPU": sum(len(cell.dedicated) for cell in topology.cells),
    }
    return topology, {name: total for name, total in (facts.inventory | counts).items() if total}
