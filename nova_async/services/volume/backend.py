"""The one back end of a cloud: what it can do, and whether an administrator lets volumes be made there."""

from typing import Any

from nova_async.context import Context
from nova_async.db import Connection, Database
from nova_async.db import volume_services as rows
from nova_async.db.volume_services import ProjectUsage, ServiceRow
from nova_async.errors import Invalid, NotFound
from nova_async.model.extra_specs_ops import matches
from nova_async.services.volume import rules
from nova_async.services.volume.stores import Traits

VOLUME, SCHEDULER = "cinder-volume", "cinder-scheduler"
FROZEN = "frozen"  # the reason that Cinder gives for a back end that was frozen
CAPABILITIES: dict[str, Any] = {  # of all
    "vendor_name": "nova_async",
    "driver_version": "1.0",
    "multiattach": True,
    "thin_provisioning_support": True,
    "online_extend_support": True,
    "replication_enabled": False,
}


class Backend:
    def __init__(self, database: Database, host: str, traits: Traits) -> None:
        self._database, self.traits = database, traits
        self.hosts = {SCHEDULER: host, VOLUME: f"{host}@{traits.name}"}  # by the name of the process
        self.pool = f"{host}@{traits.name}#{traits.name}"
        self.capabilities = {"volume_backend_name": traits.name, "storage_protocol": traits.protocol, **CAPABILITIES}

    async def services(self, ctx: Context, policy: str = "volume_extension:services:index") -> dict[str, ServiceRow]:
        rules.admin(ctx, policy)
        async with self._database.connection() as conn:
            return await rows.all(conn)

    async def usage(self, ctx: Context, host: str) -> list[ProjectUsage]:
        """Of the host's volumes, by project. Raises ``NotFound`` for one that keeps none."""
        rules.admin(ctx, "volume_extension:hosts")
        if host not in (self.hosts[VOLUME], self.pool):
            raise NotFound(f"Service cinder-volume could not be found on host {host[:255]}.")
        async with self._database.connection() as conn:
            return await rows.usage(conn)

    async def switch(self, ctx: Context, host: str, name: str, *, disabled: bool, reason: str | None) -> None:
        """Where volumes are kept none are made any more, or again."""
        rules.admin(ctx, "volume_extension:services:update")
        if self.hosts.get(name) != host:
            raise NotFound(f"Service {name[:255]} could not be found on host {host[:255]}.")
        async with self._database.connection() as conn:
            await rows.put(conn, name, disabled, reason)

    async def freeze(self, ctx: Context, host: str, *, frozen: bool) -> None:
        """As Cinder does it: the service is disabled, for this reason. Raises ``Invalid`` for an unknown host."""
        rules.admin(ctx, f"volume:{'freeze' if frozen else 'thaw'}_host")
        if host != self.hosts[VOLUME]:
            raise Invalid(f"No service that keeps volumes is on host {host[:255]}.")
        await self.switch(ctx, host, VOLUME, disabled=frozen, reason=FROZEN if frozen else None)

    async def refusal(self, conn: Connection, extra_specs: dict[str, str]) -> str | None:
        """Why no volume of such a type is made here; None: it is."""
        said = (await rows.all(conn)).get(VOLUME)
        if said is not None and said.disabled:
            return f"No backend is available: {self.hosts[VOLUME]} is disabled ({said.reason or 'no reason was given'})."
        return self.unserved(extra_specs)

    def unserved(self, extra_specs: dict[str, str]) -> str | None:
        """What a type asks of its back end that this one has not, as Cinder's CapabilitiesFilter reads it."""
        for key, wanted in extra_specs.items():
            scope, _, name = key.rpartition(":")
            if scope not in ("", "capabilities"):
                continue
            known = self.capabilities.get(name)
            if known is None or not _fits(known, wanted):
                return f"No backend is available for this type: it asks for {key} = {wanted[:255]}, and there is {name} = {known}."
        return None


def _fits(known: Any, wanted: str) -> bool:
    head, _, word = wanted.strip().partition(" ")
    if isinstance(known, bool):
        return (word if head == "<is>" else wanted).strip().lower() == str(known).lower()
    return bool(wanted.strip()) and matches(str(known), wanted)
