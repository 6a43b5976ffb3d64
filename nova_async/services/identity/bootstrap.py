"""What must exist before anybody can log in. Safe to run again, and by several processes at once."""

import asyncio
import hashlib
import secrets as dice

import msgspec

from nova_async.config import Config
from nova_async.db import Connection, Database, identity_catalog, identity_tokens
from nova_async.db import identity as db
from nova_async.kept import keep
from nova_async.services.identity.passwords import Passwords
from nova_async.services.volume.remote import root
from nova_async.world import World

DOMAIN = db.Project(id="default", name="Default", description="The default domain", is_domain=True)

PROJECTS = ("admin", "demo", "service")

ROLES = ("reader", "member", "manager", "admin", "service")

IMPLIED = (("admin", "manager"), ("manager", "member"), ("member", "reader"))

# user, project (None: the system; "": the default domain), role
GRANTS = (
    ("admin", "admin", "admin"),
    ("admin", "", "admin"),
    ("admin", None, "admin"),
    ("admin", "demo", "admin"),
    ("demo", "demo", "member"),
    ("nova", "service", "service"),
)
# where other services are not built in: of them it asks what they give to administrators alone
GRANTS_ELSEWHERE = (("nova", "service", "admin"),)

# type, name, path below the public URL
SERVICES = (
    ("identity", "keystone", "/identity"),
    ("image", "glance", "/image"),
    ("network", "neutron", "/network"),
    ("block-storage", "cinder", "/volume/v3"),
    ("volumev3", "cinderv3", "/volume/v3"),
    ("compute", "nova", "/compute/v2.1"),
    ("placement", "placement", "/placement"),
)
KEEP_SECONDS = 2 * 86_400.0
INTERFACES = ("public", "internal", "admin")


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of ``clouds.yaml``. ``password`` is empty when it was made on another machine."""

    username: str
    password: str
    project_name: str
    user_domain_id: str = "default"
    project_domain_id: str = "default"

    def __repr__(self) -> str:
        return f"Login({self.username!r}, project_name={self.project_name!r})"


class Secrets(msgspec.Struct, frozen=True, kw_only=True):
    """What a user of this cloud needs to log in."""

    auth_url: str
    region: str
    admin: Login
    demo: Login
    service: Login


async def bootstrap(database: Database, config: Config, world: World, passwords: Passwords) -> Secrets:
    """Raises ``Unavailable`` when the database does not answer."""
    known = await asyncio.to_thread(_known_passwords, config, world)
    async with database.connection() as conn:
        missing = [name for name in known if not await db.user_list(conn, name, DOMAIN.id, None, db.Page())]
    hashes = dict(zip(missing, await asyncio.gather(*(passwords.hash(known[name]) for name in missing)), strict=True))
    async with database.transaction() as conn:
        await db.bootstrap_lock(conn)
        made = await _users(conn, world, hashes)
        await _roles(conn, world)
        await _grants(conn, config)
        await _catalog(conn, config)
    older = [name for name in known if name not in made]
    opens = await asyncio.gather(*(_still_opens(database, passwords, name, known[name]) for name in older))
    usable = {name: known[name] for name in (*made, *(name for name, does in zip(older, opens, strict=True) if does))}
    if config.identity.admin_password and "admin" not in usable:
        usable["admin"] = await _reset(
            database, "admin", config.identity.admin_password, await passwords.hash(config.identity.admin_password)
        )
    return Secrets(
        auth_url=f"{config.public_url}/identity/v3",
        region=config.identity.region,
        admin=Login(username="admin", password=usable.get("admin", ""), project_name="admin"),
        demo=Login(username="demo", password=usable.get("demo", ""), project_name="demo"),
        service=Login(username="nova", password=usable.get("nova", ""), project_name="service"),
    )


async def ensure_key(database: Database) -> None:
    """Make the first key that signs tokens."""
    async with database.transaction() as conn:
        await db.bootstrap_lock(conn)
        if not await identity_tokens.keys(conn):
            await identity_tokens.key_insert(conn, dice.token_bytes(32))


def _known_passwords(config: Config, world: World) -> dict[str, str]:
    told = {"admin": config.identity.admin_password}
    if config.identity.username == "nova":
        told["nova"] = config.identity.password
    told = {name: password for name, password in told.items() if password}
    made = keep(config.state, "identity", [n for n in ("admin", "demo", "nova") if n not in told], lambda: world.secret(18))
    return {**made, **told}


async def _users(conn: Connection, world: World, hashes: dict[str, str]) -> set[str]:
    """Domain, projects and users; returns the names of the users that were not there before."""
    if await db.project_show(conn, DOMAIN.id) is None:
        await db.project_insert(conn, DOMAIN)
    for name in PROJECTS:
        if not await db.project_list(conn, db.ProjectFilter(name=name, domain_id=DOMAIN.id), db.Page()):
            await db.project_insert(conn, db.Project(id=_id(world), name=name, domain_id=DOMAIN.id))
    made = set()
    for name, hashed in hashes.items():
        if not await db.user_list(conn, name, DOMAIN.id, None, db.Page()):
            await db.user_insert(conn, db.User(id=_id(world), name=name, domain_id=DOMAIN.id, password_hash=hashed))
            made.add(name)
    return made


async def _roles(conn: Connection, world: World) -> None:
    for name in ROLES:
        if not await db.role_list(conn, name, None, db.Page()):
            await db.role_insert(conn, db.Role(id=_id(world), name=name, options={"immutable": True}))
    ids = {r.name: r.id for r in await db.roles_named(conn, ROLES)}
    for prior, implied in IMPLIED:
        await db.implied_insert(conn, ids[prior], ids[implied])


async def _grants(conn: Connection, config: Config) -> None:
    chosen = config.services
    elsewhere = {chosen.image, chosen.network, chosen.volume} != {"builtin"}
    roles = {r.name: r.id for r in await db.roles_named(conn, ROLES)}
    for user, project, role in GRANTS + (GRANTS_ELSEWHERE if elsewhere else ()):
        (who,) = await db.user_list(conn, user, DOMAIN.id, None, db.Page())
        where = await db.project_list(conn, db.ProjectFilter(name=project, domain_id=DOMAIN.id), db.Page()) if project else []
        grant = db.Grant(
            user_id=who.id, project_id=where[0].id if where else None, domain_id=DOMAIN.id if project == "" else None, role_id=roles[role]
        )
        await db.grant_insert(conn, grant)


async def _catalog(conn: Connection, config: Config) -> None:
    elsewhere = {"identity": config.identity.url, "image": config.image.url, "network": config.network.url}
    elsewhere |= dict.fromkeys(("block-storage", "volumev3"), config.volume.url and f"{root(config.volume.url)}/v3")
    await identity_catalog.region_ensure(conn, config.identity.region)
    for type_, name, path in SERVICES:
        service_id = _fixed_id(type_)
        await identity_catalog.service_ensure(conn, service_id, type_, name)
        url = elsewhere.get(type_) or config.public_url + path
        for interface in INTERFACES:
            await identity_catalog.endpoint_ensure(
                conn,
                identity_catalog.Endpoint(
                    id=_fixed_id(f"{type_}/{interface}"),
                    service_id=service_id,
                    region_id=config.identity.region,
                    interface=interface,
                    url=url,
                ),
            )


async def _still_opens(database: Database, passwords: Passwords, name: str, password: str) -> bool:
    async with database.connection() as conn:
        user = await db.user_login(conn, db.Ref(name=name, domain_id=DOMAIN.id))
    return user is not None and await passwords.matches(user.password_hash, password)


async def _reset(database: Database, name: str, password: str, hashed: str) -> str:
    """Give a user the password that the configuration says; its old tokens end."""
    async with database.transaction() as conn:
        user = await db.user_login(conn, db.Ref(name=name, domain_id=DOMAIN.id))
        locked = await db.user_lock(conn, user.id) if user else None
        if locked:
            await db.user_update(conn, msgspec.structs.replace(locked, password_hash=hashed))
            await identity_tokens.revoke(conn, [f"user:{locked.id}"], KEEP_SECONDS)
    return password


def _id(world: World) -> str:
    return world.uuid().replace("-", "")


def _fixed_id(name: str) -> str:
    """The same in every process, so that racing processes make one row."""
    return hashlib.sha256(f"nova_async/{name}".encode()).hexdigest()[:32]
