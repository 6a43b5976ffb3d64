"""Real OpenStack services, each started from nothing: what an operator would write into their files, and no more."""

from pathlib import Path
from typing import Any

from tests.openstack import barbican, cinder, neutron, rabbitmq
from tests.openstack.mariadb import MariaDB
from tests.openstack.programs import TOOLS, Programs

PASSWORD = "for-tests"
REGION = "RegionOne"
PORTS = {"identity": 5000, "image": 9292, "network": 9696, "volume": 8776, "key_manager": 9311}
NAMES = {"identity": "keystone", "image": "glance", "network": "neutron", "volume": "cinder", "key_manager": "barbican"}


class RealServices:
    """Those of ``kinds``; ``own_url``: of the built-in ones; ``mounts``: where Cinder's share is."""

    def __init__(self, programs: Programs, kinds: frozenset[str], own_url: str, mounts: Path) -> None:
        self.programs, self.kinds, self.own_url, self.mounts = programs, kinds, own_url, mounts
        self.region = REGION
        self.database = MariaDB(programs)
        self.auth_url = f"{self.url('identity')}/v3" if "identity" in kinds else f"{own_url}/identity/v3"

    def url(self, kind: str) -> str:
        return f"http://{self.programs.address}:{PORTS[kind]}"

    def start(self) -> None:
        self.database.start()
        if "identity" in self.kinds:
            self._keystone()
        if "key_manager" in self.kinds:
            barbican.start(self, PORTS["key_manager"])
        if "image" in self.kinds:
            self._glance()
        if self.kinds & {"network", "volume"}:
            rabbitmq.start(self.programs)
        if "network" in self.kinds:
            neutron.start(self, PORTS["network"])
        if "volume" in self.kinds:
            cinder.start(self, PORTS["volume"], self.mounts, rabbitmq.URL)

    def options(self) -> dict[str, str]:
        """What nova_async is told of them."""
        told = {f"SERVICES_{kind}": NAMES[kind] for kind in self.kinds}
        told |= {f"{kind}_URL": self.url(kind) for kind in self.kinds if kind == "identity" or "identity" not in self.kinds}
        told |= {"IDENTITY_PASSWORD": PASSWORD, "IDENTITY_ADMIN_PASSWORD": PASSWORD}
        if "network" in self.kinds:
            listen = f"{self.programs.address}:{neutron.METADATA_PORT}"
            told |= {"METADATA_LISTEN": listen, "METADATA_SHARED_SECRET": neutron.METADATA_SECRET}
        if "volume" in self.kinds:
            told["COMPUTE_NFS_MOUNT_DIR"] = str(self.mounts)
        return {f"NOVA_ASYNC_{name.upper()}": value for name, value in told.items()}

    # -- each service

    def _keystone(self) -> None:
        folder = self.programs.folder / "keystone"
        path = str(
            self.programs.write(
                "keystone/keystone.conf",
                {
                    "DEFAULT": {"log_file": folder / "keystone.log"},
                    "database": {"connection": self.database.make("keystone")},
                    "fernet_tokens": {"key_repository": folder / "fernet-keys"},
                    "credential": {"key_repository": folder / "credential-keys"},
                },
            )
        )
        manage = ("keystone-manage", "--config-file", path)
        owner = ("--keystone-user", "root", "--keystone-group", "root")
        self.programs.run(*manage, "db_sync")
        for keys in ("fernet", "credential"):
            (folder / f"{keys}-keys").mkdir()
            self.programs.run(*manage, f"{keys}_setup", *owner)
        urls = [word for kind in ("public", "internal", "admin") for word in (f"--bootstrap-{kind}-url", f"{self.url('identity')}/v3")]
        self.programs.run(*manage, "bootstrap", "--bootstrap-password", PASSWORD, "--bootstrap-region-id", REGION, *urls)
        application = "keystone.server.wsgi:initialize_public_application"
        self.programs.serve("keystone", application, PORTS["identity"], OS_KEYSTONE_CONFIG_FILES=path)

    def _glance(self) -> None:
        folder = self.programs.folder / "glance"
        path = self.programs.write(
            "glance/glance-api.conf",
            {
                "DEFAULT": {
                    "log_file": folder / "glance.log",
                    "enabled_backends": "files:file",
                    "node_staging_uri": f"file://{folder}/staging",
                },
                "database": {"connection": self.database.make("glance")},
                "glance_store": {"default_backend": "files"},
                "files": {"filesystem_store_datadir": folder / "images"},
                "os_glance_staging_store": {"filesystem_store_datadir": folder / "staging"},
                "os_glance_tasks_store": {"filesystem_store_datadir": folder / "tasks"},
                "paste_deploy": {"flavor": "keystone", "config_file": TOOLS.parent / "etc/glance/glance-api-paste.ini"},
                "keystone_authtoken": self.authtoken(),
                "barbican": {"auth_endpoint": self.auth_url, "barbican_endpoint": self.url("key_manager")},
            },
        )
        self.programs.run("glance-manage", "--config-file", str(path), "db_sync")
        self.programs.serve("glance", "glance.common.wsgi_app:init_app", PORTS["image"], OS_GLANCE_CONFIG_DIR=str(folder))

    def authtoken(self) -> dict[str, Any]:
        """How a service asks who is behind a token: with the user nova, whose project is ``service``."""
        return {
            "auth_type": "password",
            "auth_url": self.auth_url,
            "www_authenticate_uri": self.auth_url,
            "username": "nova",
            "password": PASSWORD,
            "project_name": "service",
            "user_domain_id": "default",
            "project_domain_id": "default",
            "service_token_roles_required": "true",
        }
