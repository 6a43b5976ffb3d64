"""How a worker gets at images: with the service's own rights, whoever runs the image service."""

from collections.abc import AsyncIterator

from nova_async.context import service_context
from nova_async.services.image import ImageService
from nova_async.world import World


class ImagesForWorker:
    """An ``ImageFetcher`` over the image service (built in, or over HTTP)."""

    def __init__(self, images: ImageService, world: World) -> None:
        self._images, self._world = images, world

    def download(self, image_id: str, start: int = 0) -> AsyncIterator[bytes]:
        return self._images.download(service_context("req-" + self._world.uuid()), image_id, start=start)
