"""The user that parts of the cloud on other machines ask as, with the roles that it was made with."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestServer

from nova_async import app
from nova_async.context import Context
from nova_async.errors import Forbidden
from nova_async.services.identity.bootstrap import Login
from nova_async.services.image.blank import blank_qcow2
from nova_async.services.image.remote import RemoteImages
from tests.whole import log_to_nowhere, served

__all__ = ["log_to_nowhere", "served"]

USER = Context(request_id="", user_id="anna", project_id="p-a", roles=("member", "reader"))
DISK = blank_qcow2(1)


class OneToken:
    """A ``TokenSource`` that logged in once."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def token(self) -> str:
        return self._token

    def forget(self, token: str) -> None:
        raise AssertionError("the token was refused")


async def logged_in(server: TestServer, login: Login) -> OneToken:
    who = {"name": login.username, "domain": {"id": "default"}, "password": login.password}
    scope = {"project": {"name": login.project_name, "domain": {"id": "default"}}}
    body = {"auth": {"identity": {"methods": ["password"], "password": {"user": who}}, "scope": scope}}
    async with ClientSession() as session, session.post(server.make_url("/identity/v3/auth/tokens"), json=body) as answer:
        assert answer.status == 201
        return OneToken(answer.headers["X-Subject-Token"])


async def disk() -> AsyncIterator[bytes]:
    yield DISK


async def test_workers_read_and_fill_the_images_of_users(served: tuple[app.App, TestServer]) -> None:
    """SEC-042: a private image is booted from, a snapshot is stored by a worker, who is none of the image's project; and no more."""
    running, server = served
    assert running.secrets is not None
    assert running.builtin_images is not None
    queued = await running.builtin_images.create(USER, "snapshot", disk_format="qcow2", properties={}, container_format="bare")
    images = RemoteImages(str(server.make_url("/image")), await logged_in(server, running.secrets.service), running.world)
    try:
        assert (await images.upload(USER, queued.id, disk())).status == "active"
        assert b"".join([chunk async for chunk in images.download(USER, queued.id)]) == DISK
        assert (await images.get(USER, queued.id)).owner == USER.project_id
        await running.builtin_images.set_active(USER, queued.id, False)
        assert b"".join([chunk async for chunk in images.download(USER, queued.id)]) == DISK  # of a server that has it already
        for change in (images.set_properties(USER, queued.id, {"os_type": "linux"}), images.delete(USER, queued.id)):
            with pytest.raises(Forbidden):
                await change
    finally:
        await images.close()
