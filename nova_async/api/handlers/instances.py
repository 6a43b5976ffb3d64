"""The server in a path: as far as the caller may know of it, and held still while an action is begun."""

import re
from typing import Any

from nova_async.api.request import Request
from nova_async.api.schemas import address
from nova_async.db import Connection, instances
from nova_async.db.instances import State
from nova_async.errors import Conflict, Invalid, NotFound
from nova_async.model.instances import Instance
from nova_async.model.states import LEGAL

UUID = re.compile(r"[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")


COLUMNS = {"description": "display_description", "hostname": "hostname"}
ADDRESS_COLUMNS = {"accessIPv4": "access_ip_v4", "accessIPv6": "access_ip_v6"}


def described(asked: dict[str, Any]) -> dict[str, Any]:
    """The columns for what update and rebuild may both say of a server: names, addresses and the like."""
    columns: dict[str, Any] = {COLUMNS[key]: value for key, value in asked.items() if key in COLUMNS}
    columns |= {ADDRESS_COLUMNS[key]: address(value) for key, value in asked.items() if key in ADDRESS_COLUMNS}
    if "name" in asked:
        columns["display_name"] = asked["name"].strip()
    if "OS-DCF:diskConfig" in asked:
        columns["auto_disk_config"] = asked["OS-DCF:diskConfig"] == "AUTO"
    return columns


async def visible(request: Request, server_id: str) -> Instance:
    """The live server; raises ``NotFound``, also for one of another project unless the caller is an administrator."""
    if UUID.fullmatch(server_id):
        async with request.parts.database.connection() as conn:
            found = await instances.get(conn, server_id, None if request.is_admin else request.ctx.project_id)
        if found is not None:
            return found
    raise missing(server_id)


def missing(server_id: str) -> NotFound:
    return NotFound(f"Instance {server_id[:255]} could not be found.")


async def hold(request: Request, conn: Connection, server: Instance) -> State:
    """The server's state, locked until the transaction ends. Raises ``NotFound`` when it is gone by now."""
    state = await instances.hold(conn, server.uuid)
    if state is None:
        raise missing(server.uuid)
    return state


def refuse_locked(request: Request, server: Instance, state: State) -> None:
    """Raises ``Conflict`` for a locked server, unless an administrator asks."""
    if state.locked_by is not None and not request.is_admin:
        raise Conflict(f"Instance {server.uuid} is locked")


def refuse_nowhere(server: Instance) -> None:
    """Raises ``Conflict`` for a server that is on no host."""
    if server.host is None:
        raise Conflict(f"Instance {server.uuid} is not ready")


def refuse_tpm(server: Instance, action: str) -> None:
    """Raises ``Invalid`` for a server with a virtual TPM, whose secrets would be lost with what ``action`` leaves behind; as Nova does."""
    if (server.flavor.get("extra_specs") or {}).get("hw:tpm_version") or server.image_properties.get("hw_tpm_version"):
        raise Invalid(f"Operation '{action}' not supported for vTPM-enabled instance ({server.uuid}).")


def refuse_illegal(server: Instance, state: State, action: str, rule: str | None = None, *, idle: bool = True) -> None:
    """Raises ``Conflict`` where the server's state forbids ``action`` (its name in texts; ``rule`` its name in ``LEGAL``).

    ``idle``: nothing else may be being done with it.
    """
    if state.vm_state not in LEGAL[rule or action]:
        raise illegal(server, action, "vm_state", state.vm_state)
    if idle and server.task_state is not None:
        raise illegal(server, action, "task_state", server.task_state)
    refuse_unlaunched(server, state, action)


def refuse_unlaunched(server: Instance, state: State, action: str) -> None:
    """Raises ``Conflict`` for a server that never ran."""
    if state.launched_at is None:
        raise Conflict(f"Instance {server.uuid} is in an invalid state for '{action}'")


def illegal(server: Instance, action: str, attribute: str, value: str) -> Conflict:
    return Conflict(f"Cannot '{action}' instance {server.uuid} while it is in {attribute} {value}")
