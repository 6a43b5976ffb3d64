"""Servers that get another flavor or another host."""

from typing import Any

from nova_async import quota
from nova_async.api.handlers import server_topology
from nova_async.api.handlers.actions import begin, beginning, target
from nova_async.api.handlers.instances import refuse_nowhere, refuse_tpm
from nova_async.api.handlers.server_quota import check_growth
from nova_async.api.request import Request
from nova_async.api.schemas import truth
from nova_async.api.versions import V
from nova_async.db import Connection, hosts, instances
from nova_async.errors import Conflict, Invalid, NotFound
from nova_async.model.instances import Instance
from nova_async.policy import servers as policy

UNKNOWN_HOST = "Compute host {} could not be found."
GIB = 2**30


async def resize(request: Request) -> None:
    """Raises ``Invalid`` for a flavor that is unknown, the same, or too small for the server's image."""
    server, asked = target(request), request.body["resize"]
    flavor: dict[str, Any] = {}
    async with beginning(request, "resize", flavor=flavor) as begun:
        _refuse_silent_host(request, server)
        flavor |= await _flavor(begun.conn, server, str(asked["flavorRef"]).rpartition("/")[2], private=request.is_admin)
        _check_flavor(server, flavor)
        server_topology.check(request, flavor, server.image_properties)
        growth = {"cores": flavor["vcpus"] - server.vcpus, "ram": flavor["memory_mb"] - server.memory_mb}
        await check_growth(begun.conn, request, server, growth)
        if "OS-DCF:diskConfig" in asked:
            await instances.change(begun.conn, server.uuid, auto_disk_config=asked["OS-DCF:diskConfig"] == "AUTO")


async def confirm(request: Request) -> None:
    await begin(request, "confirmResize")


async def revert(request: Request) -> None:
    await begin(request, "revertResize")


async def migrate(request: Request) -> None:
    """To a host of the scheduler's choice, or since 2.56 to one that is named."""
    server = target(request)
    host = (request.body["migrate"] or {}).get("host") if request.has(V.MIGRATE_HOST) else None
    if host is not None:
        request.require(policy.MIGRATE_HOST, project_id=server.project_id, user_id=server.user_id)
    async with beginning(request, "migrate", host=host) as begun:
        _refuse_silent_host(request, server)
        if host is not None:
            if host == server.host:
                raise Invalid("Cannot migrate to the host where the server exists.")
            await _require_host(begun.conn, host)


async def live_migrate(request: Request) -> None:
    server, asked = target(request), request.body["os-migrateLive"]
    host, block = asked["host"], asked["block_migration"]
    if host is not None:
        request.require(policy.MIGRATE_LIVE_HOST, project_id=server.project_id, user_id=server.user_id)
    given = {
        "host": host,
        "block_migration": None if block == "auto" else truth(block),
        "force": truth(asked.get("force", False)) or (host is not None and not request.has(V.LIVE_MIGRATE_CHECKED)),
    }
    async with beginning(request, "live-migration", word="os-migrateLive", **given) as begun:
        refuse_nowhere(server)
        if not _is_up(request, server) and not request.has(V.LIVE_MIGRATE_IN_BACKGROUND):
            raise Invalid(f"Compute service of {server.host} is unavailable at this time.")
        if host is not None:
            if host == server.host:
                raise Invalid(f"Unable to migrate instance ({server.uuid}) to current host ({host}).")
            await _require_host(begun.conn, host)


async def evacuate(request: Request) -> dict[str, str] | None:
    """Away from a host that is down. Before 2.14 a password is answered."""
    server, asked = target(request), request.body["evacuate"]
    refuse_tpm(server, "evacuate")
    host = asked.get("host")
    if not request.has(V.EVACUATE_WITHOUT_SHARED_STORAGE) and truth(asked["onSharedStorage"]) and asked.get("adminPass"):
        raise Invalid("admin password can't be changed on existing disk")
    given = {
        "host": host,
        "force": truth(asked.get("force", False)) or (host is not None and not request.has(V.EVACUATE_CHECKED)),
        "stay_stopped": request.has(V.EVACUATED_STOPPED),
    }
    async with beginning(request, "evacuate", locks=False, idle=False, **given) as begun:
        refuse_nowhere(server)
        await _refuse_target(begun.conn, server, host)
        if _is_up(request, server):
            raise Invalid(f"Compute service of {server.host} is still in use.")
    if request.has(V.EVACUATE_WITHOUT_SHARED_STORAGE) or not request.parts.config.api.enable_admin_password:
        return None
    return {"adminPass": asked.get("adminPass") or request.parts.world.secret(9)}


async def _refuse_target(conn: Connection, server: Instance, host: str | None) -> None:
    if host is None:
        return
    if not await hosts.all(conn, [host]):
        raise NotFound(f"Compute host {host} not found.")
    if host == server.host:
        raise Invalid("The target host can't be the same one.")


async def _require_host(conn: Connection, host: str) -> None:
    if not await hosts.all(conn, [host]):
        raise Invalid(UNKNOWN_HOST.format(host))


def _is_up(request: Request, server: Instance) -> bool:
    return not server.host_forced_down and request.parts.hosts.is_heard(server.host or "")


def _refuse_silent_host(request: Request, server: Instance) -> None:
    refuse_nowhere(server)
    if not _is_up(request, server):
        raise Conflict("Service is unavailable at this time.")


async def _flavor(conn: Connection, server: Instance, flavorid: str, *, private: bool) -> dict[str, Any]:
    """The columns of the flavor to resize to. Raises ``Invalid``."""
    prepared = await instances.prepare(
        conn,
        flavorid=flavorid,
        project_id=server.project_id,
        private_flavors=private,
        user_id=server.user_id,
        key_name=None,
        zone=None,
        hosts=[],
        configured=(quota.UNLIMITED,) * 3,  # check_growth counts
    )
    if prepared is None:
        raise Invalid(f"Flavor {flavorid[:255]} could not be found.")
    return prepared.flavor


def _check_flavor(server: Instance, flavor: dict[str, Any]) -> None:
    """Raises ``Invalid`` where the server cannot get this flavor."""
    if flavor["id"] == server.flavor_id:
        raise Invalid("When resizing, instances must change flavor!")
    if flavor["root_gb"] == 0 and server.flavor["root_gb"] != 0:
        raise Invalid("Server disk was unable to be resized because: Resize to zero disk flavor is not allowed.")
    image, disk = server.system_metadata.get("image") or {}, flavor["root_gb"] * GIB
    if disk and image.get("size_bytes", 0) > disk:
        raise Invalid(f"Flavor's disk is too small for requested image. Flavor disk is {disk} bytes, image is {image['size_bytes']} bytes.")
    if disk and image.get("min_disk_gib", 0) * GIB > disk:
        raise Invalid(
            "Flavor's disk is smaller than the minimum size specified in image metadata. "
            f"Flavor disk is {disk} bytes, minimum size is {image['min_disk_gib'] * GIB} bytes."
        )
