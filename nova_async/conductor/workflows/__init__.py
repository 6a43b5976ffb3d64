"""Every operation on a server, by the name that os-instance-actions shows."""

from nova_async.conductor.workflows import power
from nova_async.conductor.workflows.create import CREATE
from nova_async.conductor.workflows.delete import DELETE
from nova_async.workflow.steps import Definition

DEFINITIONS: list[Definition] = [CREATE, DELETE, *power.DEFINITIONS]
