"""A real Keystone: who is behind a token, and tokens for this process's own user."""

import asyncio
import hashlib
import re
from collections import OrderedDict
from datetime import datetime
from typing import Any

import msgspec
from aiohttp import ClientTimeout

from nova_async import log
from nova_async.config import Identity
from nova_async.context import Context
from nova_async.errors import Unauthorized, Unavailable
from nova_async.model.access_rules import AccessRule, Visit
from nova_async.services import access_rules
from nova_async.services.client import ServiceClient, versioned
from nova_async.world import World

DEADLINE = ClientTimeout(total=10, sock_connect=5)
INTERFACES = ("internal", "public")  # where we look for the others, the first that there is
CACHE_SECONDS = 30.0  # how long a token revoked elsewhere may still be taken for good
REFUSAL_SECONDS = 5.0
MAX_CACHED = 10_000
RENEW_AT = 0.8  # of a token's life
LONGEST_PAUSE = 30.0
KNOWS_RULES = {"OpenStack-Identity-Access-Rules": "1.0"}  # else Keystone knows no token that access rules bind
PROJECT = re.compile(r"[A-Za-z0-9_-]{1,64}")
logger = log.get("identity.remote")


class _Domain(msgspec.Struct):
    id: str = "default"


class _User(msgspec.Struct):
    id: str
    domain: _Domain = msgspec.field(default_factory=_Domain)


class _Role(msgspec.Struct):
    name: str


class _Endpoint(msgspec.Struct):
    interface: str
    url: str
    region_id: str | None = None


class _Service(msgspec.Struct):
    type: str
    endpoints: list[_Endpoint] = []


class _Credential(msgspec.Struct):
    access_rules: list[AccessRule] | None = None


class _Token(msgspec.Struct):
    """What we read of Keystone's token document."""

    expires_at: datetime
    issued_at: datetime
    user: _User
    project: _User | None = None
    domain: _Domain | None = None
    system: dict[str, Any] | None = None
    roles: list[_Role] = []
    catalog: list[_Service] = []
    application_credential: _Credential | None = None


class _Known(msgspec.Struct, frozen=True, kw_only=True):
    """Who is behind a token, and the access rules that bind it: None where it may be used for all that its roles allow."""

    context: Context
    rules: list[AccessRule] | None = None


class _Document(msgspec.Struct):
    token: _Token


class Keystone:
    """One Keystone, asked with deadlines and bounds. ``close`` it."""

    def __init__(self, url: str, world: World) -> None:
        self._client = ServiceClient("identity", versioned(url, "v3"), world)

    async def ask(self, method: str, path: str, **options: Any) -> tuple[int, Any, bytes]:
        """Status, headers and body. Raises ``Unavailable`` when there is no usable answer."""
        async with self._client.answered(method, path, timeout=DEADLINE, **options) as got:
            return got.status, got.headers, await self._client.body(got)

    async def close(self) -> None:
        await self._client.close()


class TokenSource:
    """Tokens for this process's own user, renewed before they end."""

    def __init__(self, options: Identity, world: World) -> None:
        self._keystone = Keystone(options.url, world)
        self._options = options
        self._world = world
        self._lock = asyncio.Lock()
        self._token = ""
        self._renew_at = self._ends_at = float("-inf")
        self._failures = 0
        self._not_before = float("-inf")
        self._catalog: list[_Service] = []

    async def token(self) -> str:
        """A token that is good for a while. Raises ``Unavailable`` when none can be had."""
        if self._world.monotonic() < self._renew_at:
            return self._token
        async with self._lock:
            now = self._world.monotonic()
            if now >= self._renew_at:
                await self._renew(now)
            return self._token

    async def token_for(self, project_id: str) -> str:
        """One for another project. Raises ``Unauthorized`` where our user has no role there, ``Unavailable``."""
        credentials = self._credentials({"id": project_id})
        status, headers, _ = await self._keystone.ask("POST", "/auth/tokens?nocatalog", json=credentials, repeat=True)
        if status in (401, 403):
            raise Unauthorized()
        if status != 201:
            raise Unavailable("The identity service does not give this process a token.", detail=f"HTTP {status}")
        return str(headers["X-Subject-Token"])

    def forget(self, token: str) -> None:
        """A service refused this token: get another next time."""
        if token == self._token:
            self._renew_at = self._ends_at = float("-inf")

    async def endpoint(self, *types: str) -> str:
        """Where a service of one of these types answers in our region, by the catalog. Raises ``Unavailable``."""
        await self.token()
        found = [e for service in self._catalog if service.type in types for e in service.endpoints]
        for interface in INTERFACES:
            for endpoint in found:
                if endpoint.interface == interface and endpoint.region_id in (None, self._options.region):
                    return endpoint.url.rstrip("/")
        raise Unavailable(
            f"The catalog has no {types[0]} service.", detail=f"region {self._options.region}, interface {' or '.join(INTERFACES)}"
        )

    async def close(self) -> None:
        await self._keystone.close()

    async def _renew(self, now: float) -> None:
        """Log in; while that fails an old token serves as long as it lives, and attempts are spaced out."""
        if now < self._not_before:
            return self._fall_back("the last login failed", now)
        try:
            text, life = await self._login()
        except Unavailable as error:
            self._failures += 1
            pause = min(2.0 ** min(self._failures - 1, 10), LONGEST_PAUSE)
            self._not_before = self._world.monotonic() + pause * self._world.random.uniform(0.5, 1.0)
            logger.warning("identity.login_failed", username=self._options.username, error=error.message, detail=error.detail)
            return self._fall_back(error.detail or error.message, now)
        self._failures = 0
        self._token, self._renew_at, self._ends_at = text, now + life * RENEW_AT, now + life

    def _fall_back(self, why: str, now: float) -> None:
        if now >= self._ends_at:
            raise Unavailable("The identity service does not give this process a token.", detail=why)

    async def _login(self) -> tuple[str, float]:
        """A token and the seconds that it lives, by Keystone's own clock."""
        status, headers, body = await self._keystone.ask("POST", "/auth/tokens", json=self._credentials(self._own_project()), repeat=True)
        text = headers.get("X-Subject-Token", "")
        if status != 201 or not text:
            raise Unavailable("The identity service refuses the user that identity.username names.", detail=f"HTTP {status}")
        token = _parse(body)
        self._catalog = token.catalog
        return text, (token.expires_at - token.issued_at).total_seconds()

    def _own_project(self) -> dict[str, Any]:
        return {"name": self._options.project, "domain": {"id": "default"}}

    def _credentials(self, project: dict[str, Any]) -> dict[str, Any]:
        user = {"name": self._options.username, "domain": {"id": "default"}, "password": self._options.password}
        return {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": {"project": project}}}


class RemoteTokens:
    """Asks Keystone who is behind a token, and remembers the answer for ``CACHE_SECONDS``.

    Satisfies ``services.web.Identity``. Callers with the same token share one question.
    """

    def __init__(self, options: Identity, world: World, source: TokenSource | None = None) -> None:
        self.source = source or TokenSource(options, world)
        self._keystone = Keystone(options.url, world)
        self._world = world
        self._known: OrderedDict[bytes, tuple[float, datetime | None, _Known | None]] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[_Known | None]] = {}

    async def validate(self, token: str, visit: Visit | None = None) -> Context:
        """The caller behind a token. Raises ``Unauthorized``, ``Forbidden`` or ``Unavailable``."""
        if not token or len(token) > 16_384 or not token.isascii() or not token.isprintable():
            raise Unauthorized()
        key = hashlib.sha256(token.encode()).digest()
        until, ends, known = self._known.get(key, (float("-inf"), None, None))
        if self._world.monotonic() >= until:
            known = await self._shared(key, token)
        elif ends is not None and ends <= self._world.now():
            known = None
        if known is None:
            raise Unauthorized()
        if known.rules is not None:
            await access_rules.check(known.rules, visit, self)
        return known.context

    async def has_project(self, project_id: str) -> bool:
        """Whether there is such a project; True also where Keystone does not answer, or does not tell this process's user."""
        if not PROJECT.fullmatch(project_id):
            return False
        try:
            status, _ = await self._ask_as_ourselves(f"/projects/{project_id}")
        except Unavailable as error:
            logger.info("identity.project_unknown", project=project_id, error=error.message, detail=error.detail)
            return True
        return status != 404

    async def close(self) -> None:
        for task in self._asking.values():
            task.cancel()
        await self._keystone.close()
        await self.source.close()

    async def _shared(self, key: bytes, token: str) -> _Known | None:
        """One question for all who ask the same; it goes on when the first of them is cancelled."""
        task = self._asking.get(key)
        if task is None:
            if len(self._asking) >= MAX_CACHED:
                raise Unavailable()
            task = self._asking[key] = asyncio.create_task(self._ask(key, token), name="identity.validate")
            task.add_done_callback(lambda done: self._answered(key, done))
        return await asyncio.shield(task)

    def _answered(self, key: bytes, task: asyncio.Task[_Known | None]) -> None:
        self._asking.pop(key, None)
        if not task.cancelled():
            task.exception()  # seen, even when all who asked are gone

    async def _ask(self, key: bytes, token: str) -> _Known | None:
        asked_at = self._world.monotonic()
        status, body = await self._ask_as_ourselves("/auth/tokens?nocatalog", **{"X-Subject-Token": token}, **KNOWS_RULES)
        if status == 404:
            self._remember(key, asked_at + REFUSAL_SECONDS, None, None)
            return None
        if status != 200:
            raise Unavailable("The identity service does not let this process check tokens.", detail=f"HTTP {status}")
        said = _parse(body)
        if said.expires_at <= self._world.now():
            return None
        credential = said.application_credential
        known = _Known(context=_context(said), rules=credential.access_rules if credential else None)
        self._remember(key, asked_at + CACHE_SECONDS, said.expires_at, known)
        return known

    async def _ask_as_ourselves(self, path: str, **headers: str) -> tuple[int, bytes]:
        """Status and body, got with our own token; when Keystone no longer takes that, once more with a new one."""
        for _ in range(2):
            own = await self.source.token()
            status, _headers, body = await self._keystone.ask("GET", path, headers={"X-Auth-Token": own, **headers})
            if status != 401:
                break
            self.source.forget(own)
        return status, body

    def _remember(self, key: bytes, until: float, ends: datetime | None, known: _Known | None) -> None:
        self._known[key] = (until, ends, known)
        self._known.move_to_end(key)
        while len(self._known) > MAX_CACHED:
            self._known.popitem(last=False)


def _context(token: _Token) -> Context:
    """As ``builtin.context``: the roles of a domain-scoped token are for identity alone."""
    return Context(
        request_id="",
        user_id=token.user.id,
        project_id=token.project.id if token.project else "",
        user_domain_id=token.user.domain.id,
        project_domain_id=token.project.domain.id if token.project else "default",
        roles=() if token.domain else tuple(r.name for r in token.roles),
        system_scope=token.system is not None,
        domain_id=token.domain.id if token.domain else "",
    )


def _parse(body: bytes) -> _Token:
    try:
        return msgspec.json.decode(body, type=_Document).token
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Unavailable("The identity service gives no usable answer.", detail="not a token document") from None
