"""A client that speaks JSON to the identity API."""

from typing import Any

import aiohttp


class Answer:
    def __init__(self, status: int, headers: Any, body: Any) -> None:
        self.status, self.headers, self.body = status, headers, body


class Client:
    """Speaks for one token."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session, self.url, self.token = session, url, ""

    async def ask(self, method: str, path: str, body: Any = None, *, token: str | None = None, **more: Any) -> Answer:
        headers = {**more.pop("headers", {})}
        shown = self.token if token is None else token
        if shown:
            headers["X-Auth-Token"] = shown
        data = {"json": body} if body is not None else {}
        async with self._session.request(method, self.url + path, headers=headers, **data, **more) as got:
            octets = await got.read()
            parsed = await got.json() if octets and got.content_type == "application/json" else octets
            return Answer(got.status, got.headers, parsed)

    async def make(self, path: str, **fields: Any) -> dict[str, Any]:
        """Create something; returns it."""
        collection = path.rpartition("/")[2]
        wrapper = collection.removesuffix("s")
        answer = await self.ask("POST", path, {wrapper: fields})
        assert answer.status == 201, answer.body
        return answer.body[wrapper]

    async def login(self, username: str, password: str, project: str | None = "demo", **scope: Any) -> Answer:
        """Ask for a token, and speak with it from now on when there is one."""
        answer = await self.ask("POST", "/auth/tokens", password_auth(username, password, project, **scope), token="")
        self.token = answer.headers.get("X-Subject-Token", self.token)
        return answer


def password_auth(username: str, password: str, project: str | None = "demo", home: str = "default", **scope: Any) -> dict[str, Any]:
    user = {"name": username, "domain": {"id": home}, "password": password}
    auth: dict[str, Any] = {"identity": {"methods": ["password"], "password": {"user": user}}}
    if scope:
        auth["scope"] = scope
    elif project:
        auth["scope"] = {"project": {"name": project, "domain": {"id": home}}}
    return {"auth": auth}
