"""``clouds.yaml``, as openstacksdk and the ``openstack`` command read it, and a small client that reads it too."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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


def write_clouds(folder: Path, secrets: "Secrets") -> Path:
    """Write the clouds ``nova-async`` (a member of the project demo) and ``nova-async-admin``; readable by the owner alone. Blocks."""
    path = folder / "clouds.yaml"
    text = "clouds:\n" + _cloud("nova-async", secrets, secrets.demo) + _cloud("nova-async-admin", secrets, secrets.admin)
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
