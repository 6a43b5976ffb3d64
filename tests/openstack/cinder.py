"""A real Cinder whose back end is its NFS driver, on a folder that is mounted where a share would be: these machines have no NFS."""

import hashlib
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.openstack.programs import REPOSITORY, TOOLS

if TYPE_CHECKING:
    from tests.openstack.services import RealServices

SHARE = "nfs.example:/volumes"
DRIVER = "tests.openstack.growing_nfs.GrowingNfs"
BACKEND = "nfs"


@contextmanager
def share() -> Iterator[Path]:
    """The folder below which Cinder and the compute host both find the share mounted. Programs that start later see it."""
    base = Path(tempfile.mkdtemp(prefix="nova-async-nfs-", dir="/var/tmp"))
    base.chmod(0o755)
    files, place = base / "files", base / "mnt" / hashlib.md5(SHARE.encode(), usedforsecurity=False).hexdigest()
    for folder in (files, place):
        folder.mkdir(parents=True)
    try:
        subprocess.run(["mount", "--bind", files, place], check=True)
        yield base / "mnt"
    finally:
        subprocess.run(["umount", "--lazy", place], check=False)
        subprocess.run(["rm", "-rf", "--one-file-system", base], check=False)


def start(services: "RealServices", port: int, mounts: Path, transport: str) -> None:
    programs = services.programs
    configuration(services, mounts, transport)
    programs.run("cinder-manage", "db", "sync")
    programs.serve("cinder-api", "cinder.wsgi.wsgi:initialize_application", port)
    programs.start("cinder-scheduler", "cinder-scheduler")
    programs.start("cinder-volume", "cinder-volume", PYTHONPATH=str(REPOSITORY))


def configuration(services: "RealServices", mounts: Path, transport: str) -> None:
    """Where all of Cinder's programs look for it: below their home."""
    programs, folder = services.programs, services.programs.folder / "cinder"
    folder.mkdir()
    shares = folder / "shares"
    shares.write_text(SHARE + "\n")
    user = {name: value for name, value in services.authtoken().items() if name != "service_token_roles_required"}
    sections: dict[str, dict[str, Any]] = {
        "DEFAULT": {
            "transport_url": transport,
            "state_path": folder / "state",
            "host": socket.gethostname(),
            "my_ip": programs.address,
            "api_paste_config": TOOLS.parent / "etc/cinder/api-paste.ini",
            "resource_query_filters_file": TOOLS.parent / "etc/cinder/resource_filters.json",
            "auth_strategy": "keystone",
            "enabled_backends": BACKEND,
            "glance_api_servers": services.url("image") if "image" in services.kinds else f"{services.own_url}/image",
        },
        BACKEND: {
            "volume_driver": DRIVER,
            "volume_backend_name": BACKEND,
            "nfs_shares_config": shares,
            "nfs_mount_point_base": mounts,
            "nfs_snapshot_support": "true",
            "nas_secure_file_operations": "false",
            "nas_secure_file_permissions": "false",
        },
        "database": {"connection": services.database.make("cinder")},
        "keystone_authtoken": services.authtoken(),
        "nova": {**user, "region_name": services.region},
        "service_user": {**user, "send_service_user_token": "true"},
        "oslo_concurrency": {"lock_path": folder / "locks"},
        "cinder_sys_admin": {"helper_command": TOOLS / "privsep-helper"},  # in place of sudo: we are root already
    }
    (folder / "state").mkdir()
    programs.write(".cinder/cinder.conf", sections)
