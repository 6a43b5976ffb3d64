"""Bare-metal nodes, which versions before 2.36 looked up in Ironic: no driver here knows such a service."""

from nova_async.api.request import Request
from nova_async.errors import Invalid, Unsupported


async def index(request: Request) -> None:
    raise Unsupported()


async def show(request: Request) -> None:
    raise Unsupported()


async def create(request: Request) -> None:
    raise _elsewhere("node-create")


async def delete(request: Request) -> None:
    raise _elsewhere("node-delete")


async def add_interface(request: Request) -> None:
    raise _elsewhere("port-create")


async def remove_interface(request: Request) -> None:
    raise _elsewhere("port-delete")


def _elsewhere(command: str) -> Invalid:
    return Invalid(f"Command not supported. Please use Ironic command {command} to perform this action.")
