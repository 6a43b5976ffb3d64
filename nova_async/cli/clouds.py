"""``clouds.yaml``, as openstacksdk and the ``openstack`` command read it, and a small client that reads it too."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nova_async.cli.client import Client
    from nova_async.services.identity.bootstrap import Login, Secrets

CLOUD = """\
  {name}:
    auth_type: password
    auth:
      auth_url: {auth_url}
      username: {username}
      password: "{password}"
      project_name: {project}
      user_domain_id: {user_domain}
      project_domain_id: {project_domain}
    region_name: {region}
    identity_api_version: "3"
    interface: public
"""
TRUST = "    cacert: {root}\n"


def write_clouds(folder: Path, secrets: "Secrets", root: Path | None = None) -> Path:
    """Write the clouds ``nova-async`` (a member of the project demo) and ``nova-async-admin``; readable by the owner alone. Blocks.

    ``root``: the file of the authority that the API's certificate is of, where the system does not know it.
    """
    path = folder / "clouds.yaml"
    both = [_cloud("nova-async", secrets, secrets.demo), _cloud("nova-async-admin", secrets, secrets.admin)]
    text = "clouds:\n" + "".join(cloud + (TRUST.format(root=root) if root else "") for cloud in both)
    fresh = path.with_suffix(f".{os.getpid()}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as out:
        out.write(text)
    os.replace(fresh, path)
    return path


def _cloud(name: str, secrets: "Secrets", login: "Login") -> str:
    return CLOUD.format(
        name=name,
        auth_url=secrets.auth_url,
        username=login.username,
        password=login.password,
        project=login.project_name,
        user_domain=login.user_domain_id,
        project_domain=login.project_domain_id,
        region=secrets.region,
    )


def client_of(path: Path, name: str) -> "Client":
    """A client for one cloud of a ``clouds.yaml``. Raises ``Invalid`` when it is not there."""
    import yaml

    from nova_async.cli.client import Client
    from nova_async.errors import Invalid

    try:
        known = yaml.safe_load(path.read_text())["clouds"][name]
        cloud, root = known["auth"], known.get("cacert")
    except (OSError, KeyError, TypeError, yaml.YAMLError):
        raise Invalid(f"{path} names no cloud {name}; name the state directory with --state-dir.") from None
    url = cloud["auth_url"].removesuffix("/").removesuffix("/v3").removesuffix("/identity")
    return Client(url, cloud["username"], cloud["password"], cloud["project_name"], root=Path(root) if root else None)
