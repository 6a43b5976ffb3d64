"""Leave to open a console: given to who may, and asked for again at every connect.

A token dies with the placement and the run of the guest it was made for: its row holds only while the server runs on the same host
in the same placement, and the host must still offer the console at the address that it gave (a guest that was started anew has another).
"""

import hashlib

from nova_async.bus import Bus
from nova_async.bus.messages.compute import Console, GetConsole
from nova_async.config import Config
from nova_async.console.urls import url_of
from nova_async.db import Database, console_tokens
from nova_async.db.console_tokens import Grant
from nova_async.errors import Conflict, Error, NotFound, Unavailable
from nova_async.model.consoles import ConsoleAddress
from nova_async.model.instances import Instance
from nova_async.world import World

ASK_SECONDS = 10.0
TOKENS_OF_A_SERVER = 100
TOKEN_LENGTH = 64
ENDED = {
    "deleted": "The server was deleted.",
    "moved": "The server was moved or rebuilt since; ask for a new address.",
    "stopped": "The server is not running.",
    "over": "The time of this address is over; ask for a new one.",
}
ANEW = "The server was started anew since; ask for a new address."
UNHEARD = "The server's host does not answer; try again later."
UNKNOWN = "The address of a console serves for a short time, and only while the server runs as it did; ask for a new one."


class ConsoleTokens:
    """Gives and checks tokens, and says why they do not hold; the database knows their hashes only."""

    def __init__(self, config: Config, world: World, database: Database, bus: Bus) -> None:
        self.config, self.world, self.database, self.bus = config, world, database, bus

    async def open(self, server: Instance, console_type: str, user_id: str) -> str:
        """The address of a console with a fresh token in it.

        Raises ``Invalid`` where the host offers no such console, ``Conflict`` where the guest is not running or its host not answering.
        """
        assert server.host is not None
        try:
            address = await self._ask(server.host, server.uuid, server.generation, console_type)
        except NotFound as error:
            raise not_ready(server.uuid, error) from None
        except Unavailable as error:
            raise Conflict(f"The host of instance {server.uuid} does not answer; try again later.", detail=error.detail) from None
        token = hashlib.sha256(self.world.secret().encode()).hexdigest()
        async with self.database.connection() as conn:
            await console_tokens.insert(
                conn,
                _hash(token),
                server.uuid,
                console_type,
                user_id,
                server.host,
                server.generation,
                address,
                seconds=self.config.console.token_seconds,
                most=TOKENS_OF_A_SERVER,
            )
        return url_of(self.config, console_type, token)

    async def find(self, token: str) -> Grant:
        """What the token allows, by the database alone; to be confirmed. Raises ``NotFound``."""
        grant = await self._kept(token)
        if grant is None or grant.ended:
            raise unknown(grant.ended if grant else None)
        return grant

    async def why(self, token: str) -> str:
        """What whoever has the token may know of its end, in a sentence; empty while it holds."""
        grant = await self._kept(token)
        if grant is None:
            return UNKNOWN
        if grant.ended:
            return ENDED[grant.ended]
        try:
            address = await self._ask(grant.host, grant.instance_id, grant.generation, grant.console_type)
        except Unavailable:
            return UNHEARD
        except Error:
            return ENDED["stopped"]
        return "" if _is_at(grant, address) else ANEW

    async def _kept(self, token: str) -> Grant | None:
        if len(token) != TOKEN_LENGTH or not token.isascii():
            return None
        async with self.database.connection() as conn:
            return await console_tokens.find(conn, _hash(token))

    async def confirm(self, grant: Grant) -> ConsoleAddress:
        """The host still offers this console of this guest at this address, which is returned. Raises ``NotFound``.

        To be asked once the connection stands: then it leads to this guest, whoever had the port before or has it after.
        """
        try:
            address = await self._ask(grant.host, grant.instance_id, grant.generation, grant.console_type)
        except Error as error:
            raise unknown(error.message) from None
        if not _is_at(grant, address):
            raise unknown("the guest was started anew")
        return address

    async def _ask(self, host: str, instance_id: str, generation: int, console_type: str) -> ConsoleAddress:
        question = GetConsole(instance_id=instance_id, generation=generation, console_type=console_type)
        answer = await self.bus.call(f"compute.{host}", question, timeout=ASK_SECONDS)
        assert isinstance(answer, Console)
        return answer.address


def not_ready(instance_id: str, error: Error | None = None) -> Conflict:
    return Conflict(f"Instance {instance_id} is not ready", detail=error.message if error else None)


def unknown(detail: str | None = None) -> NotFound:
    return NotFound("Token not found", detail=detail)


def _is_at(grant: Grant, address: ConsoleAddress) -> bool:
    return (address.host, address.port) == (grant.address, grant.port)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
