"""An authority with a database of its own, and its HTTP interface on a free port."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp.test_utils import TestServer

from nova_async.certs.authority import Authority
from nova_async.certs.http import application
from nova_async.certs.keeper import Keeper
from nova_async.config import Config, load
from nova_async.db import Database
from nova_async.world import RealWorld


@dataclass
class Book:
    """The accounts of a broker, noted."""

    allowed: set[str] = field(default_factory=set)
    removed: list[str] = field(default_factory=list)

    async def allow(self, party: str) -> None:
        self.allowed.add(party)

    async def remove(self, party: str) -> None:
        self.allowed.discard(party)
        self.removed.append(party)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load(None, {}, state_dir=str(tmp_path))


@pytest.fixture
def accounts() -> Book:
    return Book()


@pytest.fixture
async def authority(config: Config, world: RealWorld, database: Database, accounts: Book) -> Authority:
    return await Authority.open(config, world, database, accounts)


@pytest.fixture
async def url(authority: Authority, world: RealWorld) -> AsyncIterator[str]:
    async with TestServer(application(authority, world)) as server:
        yield str(server.make_url("")).rstrip("/")


@pytest.fixture
def keeper(tmp_path: Path, url: str, world: RealWorld) -> Keeper:
    """Of the host ``host1``."""
    return Keeper(tmp_path / "host1", url, world)
