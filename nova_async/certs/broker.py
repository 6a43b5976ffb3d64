"""Accounts of RabbitMQ, made and removed through its management interface (https://www.rabbitmq.com/docs/management#http-api).

A party is known to the broker by its certificate's common name (``ssl_cert_login_from = common_name``): the account has no password.
"""

import re
from typing import Any
from urllib.parse import quote

import aiohttp

from nova_async import log
from nova_async.config import Config
from nova_async.errors import Unavailable
from nova_async.world import World

SECONDS = aiohttp.ClientTimeout(total=10)
AGAIN_SECONDS = 1.0
ALL = {"configure": ".*", "write": ".*", "read": ".*"}

logger = log.get("certs")


class NoAccounts:
    """For brokers that know nobody by certificate."""

    async def allow(self, party: str) -> None:
        logger.debug("broker.no_account_made", party=party)

    async def remove(self, party: str) -> None:
        logger.debug("broker.no_account_removed", party=party)


class RabbitAccounts:
    """``url``: of the management interface, with an administrator's name and password, the virtual host as its path."""

    def __init__(self, url: str, world: World) -> None:
        self._world = world
        base, _, vhost = url.partition("://")[2].partition("/")
        self._url = f"{url.partition('://')[0]}://{base}/api"
        self._vhost = quote(vhost or "/", safe="")

    async def allow(self, party: str) -> None:
        name = quote(party, safe="")
        await self._ask("PUT", f"/users/{name}", {"password_hash": "", "tags": ""})
        await self._ask("PUT", f"/permissions/{self._vhost}/{name}", permissions(party))
        logger.info("broker.account_made", party=party)

    async def remove(self, party: str) -> None:
        """The broker ends the connections of an account that is gone; those that it has not ended yet are ended here."""
        name = quote(party, safe="")
        await self._ask("DELETE", f"/users/{name}", None, missing_is_fine=True)
        for last in (False, False, True):
            try:
                await self._ask("DELETE", f"/connections/username/{name}", None, missing_is_fine=True)
                break
            except Unavailable:  # 500 when one of them ends at this moment
                if last:
                    raise
                await self._world.sleep(AGAIN_SECONDS)
        logger.info("broker.account_removed", party=party)

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None, *, missing_is_fine: bool = False) -> None:
        async with aiohttp.ClientSession(timeout=SECONDS) as session:
            try:
                async with session.request(method, self._url + path, json=body, allow_redirects=False) as response:
                    status = response.status
            except (aiohttp.ClientError, TimeoutError) as error:
                raise Unavailable("The broker's management interface does not answer.", detail=type(error).__name__) from None
        if status >= 300 and not (status == 404 and missing_is_fine):
            raise Unavailable(f"The broker's management interface refused {method} {path} ({status}).")


def accounts(config: Config, world: World) -> NoAccounts | RabbitAccounts:
    return RabbitAccounts(config.bus.management_url, world) if config.bus.management_url else NoAccounts()


def permissions(party: str) -> dict[str, str]:
    """What a party may do: a worker reads and declares what is its own, and writes to the exchanges that lead to the application.

    Others are parts of the application, which may do all.
    """
    if not party.startswith("compute."):
        return ALL
    own = re.escape(party)
    queues = rf"nova\.(work|calls|retry)\.{own}|nova\.replies\.{own}(\.[0-9a-f-]{{36}})?|amq\.gen-.+"
    exchanges = r"nova\.(conductors|replies|topics|dead-letters)"
    return {
        "configure": f"^({queues})$",
        "write": f"^({queues}|{exchanges})$",
        "read": f"^({queues})$",
    }
