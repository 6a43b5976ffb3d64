"""From a browser's WebSocket to a guest's console, for whoever has a token.

Origin, token, place among the sessions, connection to the host, the host's word that the connection leads to this guest, and
only then the upgrade: until there a refusal is an HTTP status without a body. Bytes go both ways as fast as the slower side takes them.
Pages see no status of a WebSocket; a POST to the same address tells them why it is refused, or was cut.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

from aiohttp import WSCloseCode, WSMsgType, web
from yarl import URL

from nova_async import log
from nova_async.certs import WORKER
from nova_async.certs.identity import Identity, Stream
from nova_async.config import Config
from nova_async.console import pages, rfb, spice
from nova_async.console.sessions import Session, Sessions, TooMany
from nova_async.console.tokens import ConsoleTokens
from nova_async.db import Database, console_tokens
from nova_async.db.console_tokens import Grant
from nova_async.errors import Error, Forbidden, Invalid, NotFound, Unavailable, plain
from nova_async.model.consoles import NOVNC, PROTOCOLS, SERIAL, SHARED, SPICE
from nova_async.world import World

SUBPROTOCOL = "binary"
CONNECT_SECONDS, GREETING_SECONDS, CLOSE_SECONDS, HEARTBEAT_SECONDS = 10.0, 10.0, 2.0, 30.0
WATCH_SECONDS = 2.0
CHUNK = 64 * 1024
MESSAGE_BYTES = 1024 * 1024
ENDED = "The guest ended the connection."
ENDED_OR_TAKEN = "The guest ended the connection, or somebody else has opened its console."
REFUSALS: dict[type[Error], int] = {Forbidden: 403, TooMany: 429, NotFound: 404, Invalid: 400, Unavailable: 503}
logger = log.get("console")


class ConsoleProxy:
    """``application()`` is to be mounted where ``config.console_url`` says; ``watch`` runs beside it.

    ``identity`` is who we are to hosts that are enrolled.
    """

    def __init__(self, config: Config, world: World, database: Database, tokens: ConsoleTokens, identity: Identity | None = None) -> None:
        self.config, self.world, self.database, self.tokens, self.identity = config, world, database, tokens, identity
        self.sessions = Sessions(config.console, world)
        self.origins = origins(config)
        self.tls = _tls(config)

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/", self._connect)
        app.router.add_post("/", self._explain)
        pages.add_to(app, self.config, self.origins)
        app.on_shutdown.append(self._part)
        return app

    async def watch(self) -> None:
        """End the sessions whose time is over and those whose server is not where it was; for ever."""
        while True:
            await self.world.sleep(WATCH_SECONDS)
            self.sessions.end_overdue()
            asked = set(self.sessions.live)
            if not asked:
                continue
            try:
                async with self.database.connection() as conn:
                    holding = await console_tokens.holding(conn, [session.grant for session in asked])
            except Error as error:  # asked again in a moment; a guest that ends cuts its consoles itself
                logger.warning("console.not_compared", error=error.message)
                continue
            self.sessions.end_orphans(holding, asked)

    async def _part(self, _: web.Application) -> None:
        for session in self.sessions.live:
            session.end("The service is stopping.")

    # -- one connection

    async def _connect(self, request: web.Request) -> web.StreamResponse:
        try:
            self._check(request)
            with self.sessions.arrival():
                grant = await self.tokens.find(request.query["token"])
            with self.sessions.session(grant) as session:
                return await self._serve(request, session)
        except (*REFUSALS,) as error:
            logger.info("console.refused", error=error.message, detail=error.detail)
            status = _status(error)
            return web.Response(status=status, headers={"Connection": "close", **({"Retry-After": "5"} if status == 503 else {})})

    async def _explain(self, request: web.Request) -> web.Response:
        """Why the address does not open a console, for people; nothing where it does. Who has no token learns nothing of it."""
        try:
            self._check_origin(request)
            with self.sessions.arrival():
                token = request.query.get("token", "")
                words, status = await self.tokens.why(token), 200
            if not words:
                self.sessions.check_room(await self.tokens.find(token))
        except (*REFUSALS,) as error:
            words, status = error.message, _status(error)
        return web.Response(text=words, status=status, headers=pages.KEPT_BY_NOBODY)

    def _check(self, request: web.Request) -> None:
        """What can be told from the request alone. Browsers always say where they come from, programs need not."""
        if request.headers.get("Upgrade", "").lower() != "websocket" or not request.query.get("token"):
            raise Invalid("A WebSocket and a token are needed.")
        self._check_origin(request)
        offered = [word.strip() for line in request.headers.getall("Sec-WebSocket-Protocol", []) for word in line.split(",")]
        if offered and SUBPROTOCOL not in offered:
            raise Invalid("The sub-protocol is not known.")

    def _check_origin(self, request: web.Request) -> None:
        said = request.headers.getall("Origin", [])
        if len(said) > 1 or not self.origins.issuperset(said) or (self.config.console.require_origin and not said):
            raise Forbidden("Consoles are not opened from this site; see console.origins.", detail=repr(said)[:200])

    async def _serve(self, request: web.Request, session: Session) -> web.StreamResponse:
        grant = session.grant
        async with self._reached(grant) as (reader, writer):
            address = await self.tokens.confirm(grant)
            if address.party:
                await self._secure((reader, writer), grant, address.party)
            if grant.console_type == NOVNC:
                await _within(GREETING_SECONDS, rfb.greet_hypervisor(reader, writer, self.tls))
            socket = web.WebSocketResponse(
                protocols=(SUBPROTOCOL,),
                compress=False,
                heartbeat=HEARTBEAT_SECONDS,
                max_msg_size=MESSAGE_BYTES,
                timeout=CLOSE_SECONDS,
                writer_limit=CHUNK,
            )
            await socket.prepare(request)
            with log.bound(server=grant.instance_id, console=grant.console_type, user=grant.user_id):
                logger.info("console.opened")
                began = self.world.monotonic()
                reason = await self._talk(socket, reader, writer, session)
                logger.info("console.closed", reason=reason, seconds=round(self.world.monotonic() - began, 1))
        return socket

    async def _talk(
        self, socket: web.WebSocketResponse, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, session: Session
    ) -> str:
        """Carry bytes until one side ends or the session is cut; returns why it ended."""
        viewer = Viewer(socket, session, text=session.grant.console_type == SERIAL)
        code = WSCloseCode.OK
        try:
            if session.grant.console_type == NOVNC:
                await _within(GREETING_SECONDS, rfb.greet_viewer(viewer.exactly, socket.send_bytes))
            if PROTOCOLS[session.grant.console_type] == SPICE and spice.is_new_viewer(await self._beginning(viewer)):
                self.sessions.take_over(session)
            tasks = [asyncio.create_task(viewer.carry_to(writer)), asyncio.create_task(viewer.carry_from(reader))]
            try:
                done, _ = await asyncio.wait({*tasks, session.cut}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
            reason = session.cut.result() if session.cut.done() else next(task.result() for task in tasks if task in done)
        except Error as error:
            reason, code = error.message, WSCloseCode.PROTOCOL_ERROR
        except (ConnectionError, OSError) as error:
            reason = f"The connection broke ({type(error).__name__})."
        writer.transport.abort()
        async with _at_most(CLOSE_SECONDS):
            await socket.close(code=code, message=reason.encode())
        return reason

    async def _beginning(self, viewer: "Viewer") -> bytes:
        """Raises ``Unavailable`` and ``Invalid``."""
        await _within(GREETING_SECONDS, viewer.says(spice.HEADER.size))
        return viewer.said[: spice.HEADER.size]

    async def _secure(self, stream: Stream, grant: Grant, party: str) -> None:
        """TLS with the host of the token, which must be whose certificate is shown. Raises ``Unavailable``."""
        if self.identity is None:
            raise Unavailable("The host shows consoles to holders of certificates alone, and this process has none; see certs.directory.")
        if party != WORKER + grant.host:
            raise Unavailable("The host names another party for its consoles.", detail=party[:100])
        try:
            await self.identity.secure(stream, party)
        except (Forbidden, OSError, TimeoutError) as error:
            raise Unavailable("The host could not be recognized by its certificate.", detail=plain(error)) from None

    @asynccontextmanager
    async def _reached(self, grant: Grant) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A connection to the address of the token. Raises ``NotFound``: it was given for a guest that is not there any more."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                reader, writer = await asyncio.open_connection(grant.address, grant.port, limit=CHUNK)
        except (OSError, TimeoutError) as error:
            raise NotFound("Nobody answers at the console's address.", detail=plain(error)) from None
        try:
            yield reader, writer
        finally:
            writer.transport.abort()


class Viewer:
    """The browser's side of a session. ``text``: words that come as text are taken as well."""

    def __init__(self, socket: web.WebSocketResponse, session: Session, *, text: bool) -> None:
        self._socket, self._session, self._text = socket, session, text
        self.said = b""  # and not yet carried on

    async def says(self, count: int) -> None:
        """Until it has said so much. Raises ``Invalid`` when it leaves before."""
        while len(self.said) < count:
            words = await self._words()
            if words is None:
                raise Invalid("The viewer left.")
            self.said += words

    async def exactly(self, count: int) -> bytes:
        """Raises ``Invalid`` when the viewer leaves before it has said so much."""
        await self.says(count)
        taken, self.said = self.said[:count], self.said[count:]
        return taken

    async def carry_to(self, writer: asyncio.StreamWriter) -> str:
        words: bytes | None = self.said
        while words is not None:
            writer.write(words)
            await writer.drain()
            self._session.touch()
            words = await self._words()
        return "The viewer left."

    async def carry_from(self, reader: asyncio.StreamReader) -> str:
        while data := await reader.read(CHUNK):
            await self._socket.send_bytes(data)
            self._session.touch()
        return ENDED if self._session.grant.console_type in SHARED else ENDED_OR_TAKEN

    async def _words(self) -> bytes | None:
        message = await self._socket.receive()
        if message.type is WSMsgType.BINARY:
            return bytes(message.data)
        if message.type is WSMsgType.TEXT:
            if not self._text:
                raise Invalid("The viewer must speak in bytes.")
            return str(message.data).encode()
        return None


def _status(error: Error) -> int:
    return next(REFUSALS[kind] for kind in type(error).__mro__ if kind in REFUSALS)


def origins(config: Config) -> frozenset[str]:
    """Of whom a browser may be sent here: the console's own origin as browsers write it, and those of the configuration as they are."""
    return frozenset({str(URL(config.console_url).origin()), *config.console.origins})


async def _within(seconds: float, work: Awaitable[None]) -> None:
    """Raises ``Unavailable``."""
    try:
        async with asyncio.timeout(seconds):
            await work
    except TimeoutError:
        raise Unavailable("The greeting took too long.") from None


@asynccontextmanager
async def _at_most(seconds: float) -> AsyncIterator[None]:
    """What takes longer, or breaks, is left."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except (TimeoutError, ConnectionError):
        return


def _tls(config: Config) -> ssl.SSLContext | None:
    """How the hypervisors' screens are trusted; their certificates bear the names of no addresses that we know."""
    options = config.console
    if not options.vnc_tls_ca:
        return None
    context = ssl.create_default_context(cafile=options.vnc_tls_ca)
    context.check_hostname = False
    if options.vnc_tls_cert:
        context.load_cert_chain(options.vnc_tls_cert, options.vnc_tls_key or None)
    return context
