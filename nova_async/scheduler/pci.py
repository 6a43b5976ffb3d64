"""Which of a host's PCI devices a guest gets: pure functions over what the host has and what is taken."""

from collections.abc import Collection, Iterable

from nova_async.model.topology import PHYSICAL, Device, DeviceRequest, DeviceSpec, FittedDevice, HostTopology


def free_devices(host: HostTopology, taken: Collection[str]) -> list[Device]:
    """Those not taken. A physical function with a taken virtual one is not free, nor is one whose physical function is taken."""
    parents = {device.parent for device in host.devices if device.address in taken and device.parent}
    return [d for d in host.devices if d.address not in taken and d.address not in parents and d.parent not in taken]


def choose(
    host: HostTopology, taken: Collection[str], requests: Iterable[DeviceRequest], cells: Collection[int] | None = None
) -> tuple[FittedDevice, ...] | str:
    """Devices for all requests, or why there are too few. ``cells``: the host's that the guest is on; None: it is on none in particular."""
    chosen: list[FittedDevice] = []
    gone = set(taken)
    for request in requests:
        free = [d for d in free_devices(host, gone) if any(_matches(d, spec) for spec in request.specs)]
        suiting = _near(host, free, request, cells)
        if len(suiting) < request.count:
            return _too_few(request, free, suiting, cells)
        for device in suiting[: request.count]:
            gone.add(device.address)
            chosen.append(FittedDevice(alias=request.alias, address=device.address, numa_node=device.numa_node))
    return tuple(chosen)


def _matches(device: Device, spec: DeviceSpec) -> bool:
    """A physical function is given to nobody who does not ask for one: its virtual functions would be lost."""
    if spec.device_type is None and device.kind == PHYSICAL:
        return False
    kind = spec.device_type in (None, device.kind)
    return kind and spec.vendor_id.lower() == device.vendor_id.lower() and spec.product_id.lower() == device.product_id.lower()


def _near(host: HostTopology, free: list[Device], request: DeviceRequest, cells: Collection[int] | None) -> list[Device]:
    """Those that the policy allows, nearest first.

    ``required``: in the guest's cells; ``socket``: or in others of the same sockets; ``legacy``: or in none that is known;
    ``preferred``: any.
    """
    if cells is None:
        return free
    near = [d for d in free if d.numa_node in cells]
    if request.policy == "required":
        return near
    if request.policy == "socket":
        sockets = {cell.socket for cell in host.cells if cell.id in cells} - {None}
        around = {cell.id for cell in host.cells if cell.socket in sockets}
        return near + [d for d in free if d.numa_node in around and d not in near]
    unknown = [d for d in free if d.numa_node is None]
    if request.policy == "legacy":
        return near + unknown
    return near + unknown + [d for d in free if d not in near and d.numa_node is not None]


def _too_few(request: DeviceRequest, free: list[Device], suiting: list[Device], cells: Collection[int] | None) -> str:
    reason = f"PCI devices {request.alias}: needs {request.count}, {len(free)} free"
    if cells is not None and len(free) != len(suiting):
        nodes = ", ".join(str(cell) for cell in sorted(cells))
        reason += f", {len(suiting)} of them where the policy {request.policy} wants them (beside NUMA cell {nodes})"
    return reason
