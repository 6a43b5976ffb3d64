"""A real Cinder with two back ends of its NFS driver, on folders that are mounted where shares would be: these machines have no NFS."""

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

SHARES = {"nfs": "nfs.example:/volumes", "other": "nfs.example:/others"}  # back end -> what it has
DRIVER = "tests.openstack.growing_nfs.GrowingNfs"


@contextmanager
def shares() -> Iterator[Path]:
    """The folder below which Cinder and the compute host both find the shares mounted. Programs that start later see them."""
    base = Path(tempfile.mkdtemp(prefix="nova-async-nfs-", dir="/var/tmp"))
    base.chmod(0o755)
    places = {base / "files" / backend: folder_of(base / "mnt", backend) for backend in SHARES}
    for folder in (*places.keys(), *places.values()):
        folder.mkdir(parents=True)
    try:
        for files, place in places.items():
            subprocess.run(["mount", "--bind", files, place], check=True)
        yield base / "mnt"
    finally:
        for place in places.values():
            subprocess.run(["umount", "--lazy", place], check=False)
        subprocess.run(["rm", "-rf", "--one-file-system", base], check=False)


def folder_of(mounts: Path, backend: str) -> Path:
    """Where a back end's share is mounted."""
    return mounts / hashlib.md5(SHARES[backend].encode(), usedforsecurity=False).hexdigest()


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
            "enabled_backends": ",".join(SHARES),
            "glance_api_servers": services.url("image") if "image" in services.kinds else f"{services.own_url}/image",
        },
        "database": {"connection": services.database.make("cinder")},
        "keystone_authtoken": services.authtoken(),
        "nova": {**user, "region_name": services.region},
        "service_user": {**user, "send_service_user_token": "true"},
        "oslo_concurrency": {"lock_path": folder / "locks"},
        "cinder_sys_admin": {"helper_command": TOOLS / "privsep-helper"},  # in place of sudo: we are root already
    }
    for backend, share in SHARES.items():
        (folder / backend).write_text(share + "\n")
        sections[backend] = {
            "volume_driver": DRIVER,
            "volume_backend_name": backend,
            "nfs_shares_config": folder / backend,
            "nfs_mount_point_base": mounts,
            "nfs_snapshot_support": "true",
            "nas_secure_file_operations": "false",
            "nas_secure_file_permissions": "false",
        }
    if "key_manager" in services.kinds:
        sections["key_manager"] = {"backend": "barbican"}
        sections["barbican"] = {"auth_endpoint": services.auth_url, "barbican_endpoint": services.url("key_manager")}
    (folder / "state").mkdir()
    programs.write(".cinder/cinder.conf", sections)
