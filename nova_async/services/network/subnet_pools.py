"""Subnet pools over the API, and ranges taken from them."""

import ipaddress
from typing import Any

import msgspec

from nova_async.context import Context
from nova_async.db import Connection
from nova_async.db import networks as rows
from nova_async.db import subnet_pools as pool_rows
from nova_async.db.subnet_pools import Allocated, SubnetPoolRow
from nova_async.errors import Conflict, Invalid, QuotaExceeded
from nova_async.services.network import fields as f
from nova_async.services.network.collection import Collection, Query, admin_only, project_of
from nova_async.services.network.quotas import require_room
from nova_async.services.network.views import dates

Cidr = ipaddress.IPv4Network | ipaddress.IPv6Network
MOST_PREFIXES = 64
LONGEST = {4: 32, 6: 128}
LEAST = {4: 8, 6: 64}  # the shortest prefix that is given, where nobody says otherwise
COUNTED = {4: 32, 6: 64}  # the length of what quotas count
LENGTHS = {"default_prefixlen": "default_prefix", "min_prefixlen": "min_prefix", "max_prefixlen": "max_prefix"}
LENGTH = f.maybe(f.integer(0, 128))
CHANGES: dict[str, f.Reader] = {
    "name": f.text(255),
    "description": f.text(255),
    "prefixes": f.list_of(f.prefix, MOST_PREFIXES),
    **dict.fromkeys(LENGTHS, LENGTH),
    "default_quota": f.maybe(f.integer(0, 2**31 - 1)),
    "is_default": f.boolean,
    "address_scope_id": f.nothing,
}
FIELDS = {**CHANGES, "project_id": f.text(255), "shared": f.boolean}


class SubnetPools(Collection[SubnetPoolRow]):
    name, plural, label, tagged_as = "subnetpool", "subnetpools", "Subnet pool", "subnet_pool"

    async def find(self, conn: Connection, page: rows.Page, indexed: Query) -> list[SubnetPoolRow]:
        return await pool_rows.subnet_pools(conn, page)

    def view(self, row: SubnetPoolRow, ctx: Context) -> dict[str, Any]:
        return {
            "id": row.id,
            "name": row.name,
            "description": row.description,
            "project_id": row.project_id,
            "tenant_id": row.project_id,
            "prefixes": row.prefixes,
            "ip_version": row.ip_version,
            **{name: getattr(row, column) for name, column in LENGTHS.items()},
            "default_quota": row.default_quota,
            "shared": row.shared,
            "is_default": row.is_default,
            "address_scope_id": None,
            "tags": row.tags,
            **dates(row),
        }

    async def create(self, ctx: Context, body: dict[str, Any]) -> SubnetPoolRow:
        values = f.read(body, self.name, FIELDS)
        admin_only(ctx, values, ("shared", "is_default"))
        version, prefixes = _prefixes(values.get("prefixes", []))
        least = _given(values, "min_prefixlen", LEAST[version])
        row = SubnetPoolRow(
            id=self.service.world.uuid(),
            project_id=project_of(ctx, values),
            name=values.get("name", ""),
            description=values.get("description", ""),
            prefixes=prefixes,
            ip_version=version,
            default_prefix=_given(values, "default_prefixlen", least),
            min_prefix=least,
            max_prefix=_given(values, "max_prefixlen", LONGEST[version]),
            default_quota=values.get("default_quota"),
            shared=values.get("shared", False),
            is_default=values.get("is_default", False),
            tags=[],
            revision=1,
            created_at=self.service.world.now(),
            updated_at=None,
        )
        _sensible_lengths(row)
        async with self.service.db.transaction() as conn:
            await require_room(self.service, conn, row.project_id, "subnetpool")
            await pool_rows.insert_subnet_pool(conn, row)
        return await self.get(ctx, row.id)

    async def update(self, ctx: Context, row: SubnetPoolRow, body: dict[str, Any]) -> SubnetPoolRow:
        """Prefixes may be added, and never taken away."""
        values = f.read(body, self.name, CHANGES)
        admin_only(ctx, values, ("is_default",))
        changes = {LENGTHS.get(name, name): value for name, value in values.items() if value is not None or name == "default_quota"}
        async with self.service.db.transaction() as conn:
            await rows.lock_subnets(conn)
            row = await self.get(ctx, row.id, conn)
            if "prefixes" in changes:
                changes["prefixes"] = _extended(row, changes["prefixes"])
            row = msgspec.structs.replace(row, **changes)
            _sensible_lengths(row)
            await pool_rows.update_subnet_pool(conn, row)
        return await self.get(ctx, row.id)

    async def delete(self, ctx: Context, row: SubnetPoolRow) -> None:
        try:
            async with self.service.db.transaction() as conn:
                await pool_rows.delete_subnet_pool(conn, row.id)
        except Conflict as error:
            raise Invalid("Unable to delete subnet pool: Subnet pool has existing allocations.", detail=error.detail) from None

    async def asked_for(self, ctx: Context, values: dict[str, Any]) -> SubnetPoolRow | None:
        """The pool that a new subnet is to have its range of; None: of none. Raises ``Invalid``, ``NotFound``."""
        version = int(values.get("ip_version") or 4)
        chosen = values.get("subnetpool_id")
        if values.get("use_default_subnetpool"):
            if chosen:
                raise Invalid("Bad subnets request: subnetpool_id and use_default_subnetpool cannot both be specified.")
            async with self.service.db.connection() as conn:
                chosen = await pool_rows.default_pool(conn, version)
            if chosen is None:
                raise Invalid(f"No default subnetpool found for IPv{version}")
        if chosen is None:
            return None
        pool = await self.get(ctx, chosen)
        if "ip_version" in values and pool.ip_version != version:
            raise Invalid(f"Failed to allocate subnet: Cannot allocate IPv{version} subnet from IPv{pool.ip_version} subnet pool.")
        return pool


async def take(conn: Connection, pool: SubnetPoolRow, project_id: str, wanted: Cidr | int | None) -> Cidr:
    """A free range of a pool: this one, or any with a prefix of this length (None: the pool's default).

    ``rows.lock_subnets`` is held. Raises ``Invalid`` (length), ``Conflict`` (nothing free) or ``QuotaExceeded``.
    """
    [pool] = await pool_rows.subnet_pools(conn, rows.Page(ids=[pool.id]))
    length = wanted if isinstance(wanted, int) else pool.default_prefix if wanted is None else wanted.prefixlen
    _within_bounds(pool, length)
    taken = await pool_rows.allocated(conn, pool.id)
    _within_quota(pool, project_id, taken, length)
    ranges = [_network(row.cidr) for row in taken]
    if wanted is None or isinstance(wanted, int):
        found = free_range([_network(prefix) for prefix in pool.prefixes], ranges, length)
        if found is None:
            raise Conflict(f"Failed to allocate subnet: Insufficient prefix space to allocate subnet size /{length}.")
        return found
    if not any(_holds(_network(prefix), wanted) for prefix in pool.prefixes) or any(wanted.overlaps(other) for other in ranges):
        raise Conflict("Failed to allocate subnet: Cannot allocate requested subnet from the available set of prefixes.")
    return wanted


def free_range(prefixes: list[Cidr], taken: list[Cidr], length: int) -> Cidr | None:
    """The first range of this length inside a prefix that overlaps with nothing. ``taken`` is in the order of its addresses."""
    for prefix in prefixes:
        if prefix.prefixlen > length:
            continue
        size = 1 << (prefix.max_prefixlen - length)
        start, end = int(prefix.network_address), int(prefix.broadcast_address) + 1
        for other in taken:
            if int(other.broadcast_address) < start:
                continue
            if int(other.network_address) >= start + size:
                break
            start = -(-(int(other.broadcast_address) + 1) // size) * size  # the next that begins behind it
        if start + size <= end:
            return type(prefix)((start, length))
    return None


def _prefixes(given: list[str]) -> tuple[int, list[str]]:
    """IP version, and the prefixes without overlaps. Raises ``Invalid``."""
    if not given:
        raise Invalid("Empty subnet pool prefix list.")
    networks = [ipaddress.ip_network(text) for text in given]
    if len({network.version for network in networks}) > 1:
        raise Invalid("Cannot mix IPv4 and IPv6 prefixes in a subnet pool.")
    return networks[0].version, [str(network) for network in ipaddress.collapse_addresses(networks)]  # type: ignore[type-var]


def _extended(row: SubnetPoolRow, given: list[str]) -> list[str]:
    version, prefixes = _prefixes(given)
    if version != row.ip_version:
        raise Invalid("Cannot mix IPv4 and IPv6 prefixes in a subnet pool.")
    if not all(any(_holds(_network(prefix), _network(old)) for prefix in prefixes) for old in row.prefixes):
        raise Invalid(f"Illegal update to prefixes: some of {', '.join(row.prefixes)} would be missing; prefixes can only be added.")
    return prefixes


def _given(values: dict[str, Any], name: str, default: int) -> int:
    return default if values.get(name) is None else int(values[name])


def _sensible_lengths(row: SubnetPoolRow) -> None:
    least, default, most = row.min_prefix, row.default_prefix, row.max_prefix
    if most > LONGEST[row.ip_version]:
        raise Invalid(f"Invalid input for max_prefixlen: it must be at most {LONGEST[row.ip_version]}.")
    if least > most:
        raise Invalid(f"Illegal prefix bounds: min_prefixlen={least}, max_prefixlen={most}.")
    if not least <= default <= most:
        raise Invalid(f"Illegal prefix bounds: default_prefixlen={default} is not between min_prefixlen={least} and max_prefixlen={most}.")


def _within_bounds(pool: SubnetPoolRow, length: int) -> None:
    if length < pool.min_prefix:
        raise Invalid(f"Unable to allocate subnet with prefix length {length}, minimum allowed prefix is {pool.min_prefix}.")
    if length > pool.max_prefix:
        raise Invalid(f"Unable to allocate subnet with prefix length {length}, maximum allowed prefix is {pool.max_prefix}.")


def _within_quota(pool: SubnetPoolRow, project_id: str, taken: list[Allocated], length: int) -> None:
    if pool.default_quota is None:
        return
    unit = COUNTED[pool.ip_version]
    lengths = [length, *(_network(row.cidr).prefixlen for row in taken if row.project_id == project_id)]
    if sum(1 << max(0, unit - each) for each in lengths) > pool.default_quota:
        raise QuotaExceeded("Per-tenant subnet pool prefix quota exceeded.")


def _holds(outer: Cidr, inner: Cidr) -> bool:
    return outer.version == inner.version and inner.subnet_of(outer)  # type: ignore[arg-type]


def _network(text: str) -> Cidr:
    return ipaddress.ip_network(text)
