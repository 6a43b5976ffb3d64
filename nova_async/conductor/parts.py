"""What the steps of the conductor's workflows may use."""

from dataclasses import dataclass

from nova_async.conductor.commands import HostCommands
from nova_async.config import Config
from nova_async.db import Database
from nova_async.metadata.dynamic import VendorData
from nova_async.scheduler.decide import Scheduler
from nova_async.services.image import ImageService
from nova_async.services.image.certificates import Certificates
from nova_async.services.network import NetworkService
from nova_async.services.volume import VolumeService
from nova_async.workflow.run import Run as EngineRun
from nova_async.world import World


@dataclass(frozen=True)
class Parts:
    config: Config
    world: World
    database: Database
    commands: HostCommands
    scheduler: Scheduler
    images: ImageService
    networks: NetworkService
    volumes: VolumeService
    vendor_data: VendorData
    certificates: Certificates  # of those who sign images


Run = EngineRun[Parts]
