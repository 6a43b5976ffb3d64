"""A small client of the public API for the command line: a token, and JSON."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from nova_async.certs.identity import trusting
from nova_async.errors import Error, Unavailable, plain

DEADLINE = aiohttp.ClientTimeout(total=120)


@dataclass
class Client:
    """Speaks to one cloud as one user. Use as an asynchronous context manager."""

    url: str
    username: str
    password: str
    project: str
    version: str = "2.104"
    root: Path | None = None  # the authority to trust beside those of the system

    async def __aenter__(self) -> "Client":
        trust = await asyncio.to_thread(trusting, self.root) if self.root else True
        self.session = aiohttp.ClientSession(timeout=DEADLINE, connector=aiohttp.TCPConnector(ssl=trust))
        body = {
            "auth": {
                "identity": {
                    "methods": ["password"],
                    "password": {"user": {"name": self.username, "domain": {"id": "default"}, "password": self.password}},
                },
                "scope": {"project": {"name": self.project, "domain": {"id": "default"}}},
            }
        }
        try:
            async with self.session.post(f"{self.url}/identity/v3/auth/tokens", json=body, allow_redirects=False) as answer:
                if answer.status != 201:
                    raise Error(f"Login as {self.username} was refused ({answer.status}).")
                self.session.headers.update(
                    {"X-Auth-Token": answer.headers["X-Subject-Token"], "OpenStack-API-Version": f"compute {self.version}"}
                )
        except (aiohttp.ClientError, TimeoutError) as error:
            await self.session.close()
            raise Unavailable(f"{self.url} does not answer.", detail=plain(error)) from None
        except Error:
            await self.session.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON of the answer (None without one). Raises ``Error`` with the service's own words."""
        async with self.session.request(method, self.url + path, json=body, allow_redirects=False) as answer:
            data = await answer.json(content_type=None) if answer.content_type == "application/json" else None
            if answer.status >= 300:
                fault: Any = next(iter(data.values()), {}) if isinstance(data, dict) else {}
                raise Error(fault.get("message", f"{method} {path}: {answer.status}") if isinstance(fault, dict) else str(fault))
            return data

    async def upload(self, path: str, data: Any) -> None:
        """PUT a stream of bytes."""
        headers = {"Content-Type": "application/octet-stream"}
        options: Any = {"data": data, "headers": headers, "timeout": aiohttp.ClientTimeout(total=1800)}
        async with self.session.put(self.url + path, allow_redirects=False, **options) as answer:
            if answer.status >= 300:
                raise Error(f"The upload was refused ({answer.status}): {(await answer.text())[:300]}")
