"""What the conductor may be told: by workers (topic ``hosts``, target ``conductor``), by the API (topic ``workflows``)."""

from typing import Any

import msgspec

from nova_async.bus.messages import Message, message
from nova_async.bus.messages.compute import GuestState
from nova_async.model.neighbors import Surroundings


@message
class RegisterHost(Message, frozen=True, kw_only=True):
    """Call to ``conductor``, answered by ``HostAccepted``: at a worker's start, and when what it has changed.

    Inventory maps a resource class to total, reserved and allocation ratio. ``facts`` are what filters look at: cpu_info,
    hypervisor type and version, supported instances. ``guests`` are the guests with our mark that it runs.
    ``resume``: the machine was started anew, and the servers that ran there are to be started.
    Refused with ``Conflict`` when the name belongs to a host with another id, or the id to one of another name.
    """

    host: str
    host_id: str  # UUID kept in the worker's state directory
    revision: str  # changes with the content below
    inventory: dict[str, tuple[int, int, float]]
    traits: tuple[str, ...] = ()
    facts: dict[str, Any] = msgspec.field(default_factory=dict)
    availability_zone: str = "nova"
    address: str = ""
    version: str = ""
    guests: tuple[GuestState, ...] = ()
    resume: bool = False


@message
class HostAccepted(Message, frozen=True, kw_only=True):
    """Answer: which of the guests told are dead (deleted, or placed elsewhere since) up to which generation."""

    dead: tuple[tuple[str, int], ...] = ()


@message
class AskPlacement(Message, frozen=True, kw_only=True):
    """Call to ``conductor``, answered by ``Placement``: before a host that may have been away makes a guest."""

    host: str
    instance_id: str
    generation: int


@message
class Placement(Message, frozen=True, kw_only=True):
    """Answer: whether the server's claim on the host, of this placement, is still held."""

    held: bool


@message
class AskOperation(Message, frozen=True, kw_only=True):
    """Call to ``conductor``, answered by ``Operation``: before a host that may have been away does what it was told to."""

    workflow_id: str
    undo: bool


@message
class Operation(Message, frozen=True, kw_only=True):
    """Answer: whether the operation is still going forward, or being undone where that was asked."""

    live: bool


@message
class AskSurroundings(Message, frozen=True, kw_only=True):
    """Call to ``conductor``, answered by ``SurroundingsTold``: what lies around the networks and groups that a host has ports of."""

    host: str
    networks: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()  # that rules name as their other end


@message
class SurroundingsTold(Message, frozen=True, kw_only=True):
    """Answer."""

    surroundings: Surroundings


@message
class HostReport(Message, frozen=True, kw_only=True):
    """Published on ``hosts`` every ``report_seconds``: the worker lives. ``revision`` names its last registration."""

    host: str
    host_id: str
    revision: str = ""


@message
class HostStopping(Message, frozen=True, kw_only=True):
    """Published on ``hosts``: the worker stops on purpose; its guests live on."""

    host: str


@message
class HostsChanged(Message, frozen=True, kw_only=True):
    """Published on ``hosts``: rows of these hosts, or of aggregates, changed; read them again."""

    hosts: tuple[str, ...] = ()


@message
class PowerChanged(Message, frozen=True, kw_only=True):
    """Cast to ``conductor``: a guest changed state by itself or by the hypervisor's operator."""

    host: str
    instance_id: str
    generation: int
    power_state: int


@message
class PortsChanged(Message, frozen=True, kw_only=True):
    """Cast to ``conductor``: the network service has something new about the ports of these servers."""

    instances: tuple[str, ...]


@message
class WorkflowReady(Message, frozen=True, kw_only=True):
    """Published on ``workflows``: a workflow was made or signalled; wake up and look for it."""

    workflow_id: str
