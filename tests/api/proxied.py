"""The compute API in front of the built-in image and network services, whose old proxies it is."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from nova_async.config import load
from nova_async.services.image.builtin import BuiltinImages
from nova_async.services.network.builtin import BuiltinNetworks
from tests.api.conftest import Api


@asynccontextmanager
async def true_services(api: Api, state: Path) -> AsyncIterator[None]:
    """From here on images and networks are real."""
    config = load(None, {}, state_dir=str(state), compute__driver="fake")
    images = await BuiltinImages.open(api.database, config, api.parts.world)
    api.parts.images = images
    api.parts.networks = await BuiltinNetworks.open(api.database, config, api.parts.world)
    yield
    await images.close()


@pytest.fixture
async def proxied(api: Api, tmp_path: Path) -> AsyncIterator[Api]:
    async with true_services(api, tmp_path):
        yield api
