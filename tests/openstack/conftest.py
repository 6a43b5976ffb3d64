"""One host in a network namespace for each choice of services: the real ones, ``nova-async up`` beside them, and a user of it."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from openstack import exceptions
from openstack.connection import Connection
from openstack.identity.v3.application_credential import ApplicationCredential

from tests.e2e.conftest import real_guests_can_run
from tests.e2e.running import RealHost, RunningCloud, real_cloud
from tests.openstack import cinder, neutron
from tests.openstack.programs import TOOLS, Programs
from tests.openstack.services import PASSWORD, REGION, RealServices
from tests.virt.conftest import test_guest

__all__ = ["real_guests_can_run", "test_guest"]
AGENTS_SECONDS, READY_SECONDS = 180, 180  # with all of it on two processors
ROLES = {"nova": ("service", ("admin", "service")), "demo": ("demo", ("member",))}


class Site:
    """A cloud and the real services that it leans on."""

    def __init__(self, cloud: RunningCloud, host: RealHost, services: RealServices) -> None:
        self.cloud, self.host, self.services = cloud, host, services

    def connect(self, username: str = "demo", project: str = "demo") -> Connection:
        """The real client, logged in wherever users of this site do."""
        return Connection(
            auth={
                "auth_url": self.services.auth_url,
                "username": username,
                "password": PASSWORD if username != "demo" or "identity" in self.services.kinds else self._demo_password(),
                "project_name": project,
                "user_domain_id": "default",
                "project_domain_id": "default",
            },
            region_name=REGION,
            compute_api_version="2.latest",
        )

    def connect_with(self, credential: ApplicationCredential) -> Connection:
        """A client that has an application credential."""
        auth = {
            "auth_url": self.services.auth_url,
            "application_credential_id": credential.id,
            "application_credential_secret": credential.secret,
        }
        return Connection(auth_type="v3applicationcredential", auth=auth, region_name=REGION)

    def _demo_password(self) -> str:
        return str(self.cloud.clouds()["nova-async"]["auth"]["password"])

    def wait_for_agents(self) -> None:
        """Until Neutron has heard of its agents: before that no port can be bound."""
        end = time.monotonic() + AGENTS_SECONDS
        admin = self.connect("admin", "admin")
        while len([agent for agent in admin.network.agents() if agent.is_alive]) < neutron.AGENTS:
            assert time.monotonic() < end, list(admin.network.agents())
            time.sleep(1)

    def wait_for_cinder(self) -> None:
        """Until its back ends are up: before that nothing is made, or nothing brought from one to the other."""
        end = time.monotonic() + AGENTS_SECONDS
        admin = self.connect("admin", "admin")
        while sum(each.binary == "cinder-volume" and each.state == "up" for each in admin.block_storage.services()) < len(cinder.SHARES):
            assert time.monotonic() < end, list(admin.block_storage.services())
            time.sleep(1)

    def prepare_keystone(self) -> None:
        """Users, projects and the catalog, as an operator makes them."""
        admin = self.connect("admin", "admin")
        for name, (project, roles) in ROLES.items():
            with suppress(exceptions.ConflictException):
                admin.identity.create_project(name=project, domain_id="default")
            user = admin.identity.create_user(name=name, password=PASSWORD, domain_id="default")
            for role in roles:
                admin.identity.assign_project_role_to_user(admin.identity.find_project(project), user, admin.identity.find_role(role))
        own = self.cloud.url
        catalog = {"compute": f"{own}/compute/v2.1", "image": f"{own}/image", "network": f"{own}/network", "volumev3": f"{own}/volume/v3"}
        catalog |= {kind: self.services.url(kind) for kind in self.services.kinds & {"image", "network"}}
        if "key_manager" in self.services.kinds:
            catalog["key-manager"] = self.services.url("key_manager")
        if "volume" in self.services.kinds:
            catalog["volumev3"] = f"{self.services.url('volume')}/v3"
        for kind, url in catalog.items():
            service = admin.identity.create_service(type=kind, name=kind)
            for interface in ("public", "internal"):
                admin.identity.create_endpoint(service_id=service.id, interface=interface, url=url, region_id=REGION)


@pytest.fixture(scope="session")
def installed() -> None:
    """Skip where the services are not."""
    if not (TOOLS / "keystone-manage").exists():
        pytest.skip("make test-openstack installs the real services")


@contextmanager
def site(test_guest: Path, *kinds: str, **options: str) -> Iterator[Site]:
    """All of it running; nothing is left afterwards."""
    os.environ.setdefault("OS_CLIENT_CONFIG_FILE", os.devnull)
    with cinder.shares() as mounts, real_cloud(test_guest, "--no-first-guest") as (cloud, host):
        programs = Programs(cloud.state.parent / "services", host.address, host.inside)
        services = RealServices(programs, frozenset(kinds), cloud.url, mounts)
        made = Site(cloud, host, services)
        try:
            services.start()
            if "identity" in kinds:
                made.prepare_keystone()
            cloud.launch(**services.options(), **options)
            cloud.wait_for("ready ", READY_SECONDS)
            if "network" in kinds:
                made.wait_for_agents()
            if "volume" in kinds:
                made.wait_for_cinder()
            yield made
        except BaseException:
            _show(programs)
            raise
        finally:
            programs.close()


def _show(programs: Programs) -> None:
    """What the services said last, for whoever reads a failure."""
    for path in sorted(programs.folder.rglob("*")):
        if path.suffix in (".log", ".out") and "mariadb" not in str(path):
            print(f"==== {path.name}\n{path.read_text(errors='replace')[-2500:]}")
