"""A real Barbican, which keeps its secrets in its database."""

import base64
from typing import TYPE_CHECKING, Any

from tests.openstack.programs import REPOSITORY, TOOLS

if TYPE_CHECKING:
    from tests.openstack.services import RealServices

KEY = base64.b64encode(b"for tests, and 32 bytes in all..").decode()


def start(services: "RealServices", port: int) -> None:
    programs = services.programs
    programs.write(  # where it is looked for: below its home
        ".barbican/barbican.conf",
        {
            "DEFAULT": {"host_href": services.url("key_manager"), "db_auto_create": "true"},
            "database": {"connection": services.database.make("barbican")},
            "simple_crypto_plugin": {"kek": KEY},
            "keystone_authtoken": services.authtoken(),
        },
    )
    programs.serve("barbican", "tests.openstack.barbican:application", port, PYTHONPATH=str(REPOSITORY))


def application() -> Any:
    """Its own looks for this file below /etc. Runs in the services' own environment."""
    from paste import deploy  # type: ignore[import-not-found]

    return deploy.loadapp(f"config:{TOOLS.parent}/etc/barbican/barbican-api-paste.ini")
