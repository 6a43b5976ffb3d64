"""The services around compute, as ``[services]`` chooses them: built in, or the real ones."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from aiohttp import web

from nova_async.config import Config
from nova_async.db import Database
from nova_async.services.callers import CallersTokens
from nova_async.services.identity.remote import RemoteTokens
from nova_async.services.identity.remote import TokenSource as KeystoneSource
from nova_async.services.image import ImageService
from nova_async.services.image.certificates import CertificateFolder, Certificates, KeptCertificates
from nova_async.services.key_manager import Barbican
from nova_async.services.network import NetworkService
from nova_async.services.volume import VolumeService
from nova_async.services.web import Identity
from nova_async.world import World

if TYPE_CHECKING:
    from nova_async.certs.authority import Authority
    from nova_async.services.identity.bootstrap import Secrets
    from nova_async.services.image.builtin import BuiltinImages
    from nova_async.services.network.builtin import BuiltinNetworks
    from nova_async.services.volume.builtin import BuiltinVolumes
    from nova_async.services.volume.remote_keys import TokenSource

VOLUME_TYPES = ("block-storage", "volumev3")  # in a catalog
KEY_MANAGER_TYPE = "key-manager"


@dataclass(slots=True, kw_only=True)
class Services:
    """``sites``: what is served of them, by its path. What is not built in has no site, no secrets and no builtin object."""

    identity: Identity
    images: ImageService
    networks: NetworkService
    volumes: VolumeService
    own: "TokenSource"  # of the user of [identity]
    sites: dict[str, web.Application] = field(default_factory=dict)
    secrets: "Secrets | None" = None
    builtin_images: "BuiltinImages | None" = None
    builtin_networks: "BuiltinNetworks | None" = None
    builtin_volumes: "BuiltinVolumes | None" = None
    callers: CallersTokens | None = None  # where a service wants to know them
    certificates: Certificates  # of those who sign images


async def open_services(
    config: Config, database: Database, world: World, stack: AsyncExitStack, authority: "Authority | None" = None
) -> Services:
    """Open all of them; ``stack`` closes them. ``authority``: of hosts' certificates. Raises ``Invalid``, ``Unavailable``."""
    from nova_async.services.identity import http as identity_http
    from nova_async.services.identity.builtin import BuiltinIdentity
    from nova_async.services.identity.own import OwnTokens
    from nova_async.services.image import http as image_http
    from nova_async.services.image.builtin import BuiltinImages
    from nova_async.services.image.remote import RemoteImages
    from nova_async.services.network import http as network_http
    from nova_async.services.network.builtin import BuiltinNetworks
    from nova_async.services.network.remote import RemoteNetworks
    from nova_async.services.placement import application as placement_site
    from nova_async.services.volume import http as volume_http
    from nova_async.services.volume.builtin import BuiltinVolumes
    from nova_async.services.volume.remote import RemoteVolumes

    sites: dict[str, web.Application] = {}
    own: TokenSource
    keystone: KeystoneSource | None = None
    identity: Identity
    secrets = None
    if config.services.identity == "keystone":
        own = keystone = KeystoneSource(config.identity, world)
        identity = remote = RemoteTokens(config.identity, world, keystone)
        stack.push_async_callback(remote.close)
    else:
        identity = builtin = await BuiltinIdentity.open(database, config, world)
        stack.push_async_callback(builtin.close)
        own = OwnTokens(builtin, config.identity)
        secrets = await builtin.bootstrap()
        sites["/identity"] = identity_http.application(builtin, world, config)

    callers: CallersTokens | None = None
    certificates: Certificates = CertificateFolder(config)
    barbican: Barbican | None = None
    if config.services.key_manager == "barbican":
        callers = CallersTokens(world)
        barbican = Barbican(endpoint(config.image.key_manager_url, keystone, KEY_MANAGER_TYPE), own, world)
        stack.push_async_callback(barbican.close)
        certificates = KeptCertificates(barbican, callers)

    images: ImageService
    builtin_images = None
    if config.services.image == "glance":
        images = glance = RemoteImages(endpoint(config.image.url, keystone, "image"), own, world)
        stack.push_async_callback(glance.close)
    else:
        images = builtin_images = await BuiltinImages.open(database, config, world, certificates)
        stack.push_async_callback(builtin_images.close)
        sites["/image"] = image_http.application(builtin_images, identity, world, config, callers)

    networks: NetworkService
    builtin_networks = None
    if config.services.network == "neutron":
        networks = neutron = RemoteNetworks(endpoint(config.network.url, keystone, "network"), own, config, world)
        stack.push_async_callback(neutron.close)
    else:
        networks = builtin_networks = await BuiltinNetworks.open(database, config, world)
        sites["/network"] = network_http.application(builtin_networks, identity, world, config)

    volumes: VolumeService
    builtin_volumes = None
    if config.services.volume == "cinder":
        callers = callers or CallersTokens(world)
        volumes = cinder = RemoteVolumes(endpoint(config.volume.url, keystone, *VOLUME_TYPES), own, world, callers, barbican)
        stack.push_async_callback(cinder.close)
    else:
        volumes = builtin_volumes = await BuiltinVolumes.open(database, config, world, images, authority, certificates)
        stack.push_async_callback(builtin_volumes.close)
        sites["/volume"] = volume_http.application(builtin_volumes, identity, world, config, callers)
    sites["/placement"] = placement_site(database, identity, world)
    return Services(
        identity=identity,
        images=images,
        networks=networks,
        volumes=volumes,
        own=own,
        sites=sites,
        secrets=secrets,
        builtin_images=builtin_images,
        builtin_networks=builtin_networks,
        builtin_volumes=builtin_volumes,
        callers=callers,
        certificates=certificates,
    )


def endpoint(url: str, keystone: KeystoneSource | None, *types: str) -> str | Callable[[], Awaitable[str]]:
    """Where a service answers: where the configuration says, else where the catalog does when it is asked."""
    return url if url or keystone is None else partial(keystone.endpoint, *types)
