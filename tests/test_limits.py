"""SEC-060: whatever users can make more and more of has a limit; a new route that makes something has to say which."""

from typing import Any

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestServer

from nova_async import app
from nova_async.api.routes import ROUTES
from nova_async.api.schemas import server_tags
from nova_async.config import Config
from nova_async.console import tokens
from nova_async.policy.rule import ADMIN, SERVICE
from nova_async.policy.rules import RULES
from nova_async.services.identity.handlers import credentials, user_credentials
from nova_async.services.image import rules as image_rules
from nova_async.services.network.routers import MOST_ROUTES
from nova_async.services.volume import fields as volume_fields
from nova_async.services.volume import rules as volume_rules
from tests.whole import log_to_nowhere, served

__all__ = ["log_to_nowhere", "served"]
DEFAULTS = Config()
NETWORK, VOLUME, COMPUTE = DEFAULTS.network, DEFAULTS.volume, DEFAULTS.quota
TAGS = 50  # what ``Collection.tag`` and the database take
ONE = 1  # of a thing that exists: it is counted with that
LIMITS: dict[str, int] = {
    **dict.fromkeys(("/compute/servers", "/compute/os-volumes_boot"), COMPUTE.instances),
    "/compute/os-keypairs": COMPUTE.key_pairs,
    "/compute/os-server-groups": COMPUTE.server_groups,
    "/compute/servers/{server_id}/metadata": COMPUTE.metadata_items,
    "/compute/servers/{server_id}/tags/{id}": server_tags.MOST,
    "/compute/servers/{server_id}/os-interface": NETWORK.quota_port,
    "/compute/servers/{server_id}/remote-consoles": tokens.TOKENS_OF_A_SERVER,
    "/compute/servers/{server_id}/os-volume_attachments": VOLUME.quota_volumes,
    "/compute/servers/{server_id}/shares": VOLUME.quota_volumes,
    "/compute/images/{image_id}/metadata": image_rules.MAX_PROPERTIES,
    "/compute/os-volumes": VOLUME.quota_volumes,
    "/compute/os-snapshots": VOLUME.quota_snapshots,
    "/compute/os-floating-ips": NETWORK.quota_floatingip,
    "/compute/os-security-groups": NETWORK.quota_security_group,
    "/compute/os-security-group-rules": NETWORK.quota_security_group_rule,
    "/identity/v3/users/{user_id}/application_credentials": credentials.MAX_PER_USER,
    **dict.fromkeys(("/identity/v3/credentials", "/identity/v3/users/{user_id}/credentials/OS-EC2"), user_credentials.MAX_PER_USER),
    "/image/v2/images": image_rules.MAX_IMAGES,
    "/image/v2/images/{image_id}/members": image_rules.MAX_MEMBERS,
    "/image/v2/images/{image_id}/tags/{tag}": image_rules.MAX_TAGS,
    "/network/v2.0/networks": NETWORK.quota_network,
    "/network/v2.0/subnets": NETWORK.quota_subnet,
    "/network/v2.0/subnetpools": NETWORK.quota_subnetpool,
    "/network/v2.0/ports": NETWORK.quota_port,
    "/network/v2.0/routers": NETWORK.quota_router,
    "/network/v2.0/routers/{id}/add_extraroutes": MOST_ROUTES,
    "/network/v2.0/routers/{id}/add_router_interface": NETWORK.quota_port,
    "/network/v2.0/floatingips": NETWORK.quota_floatingip,
    "/network/v2.0/security-groups": NETWORK.quota_security_group,
    "/network/v2.0/security-group-rules": NETWORK.quota_security_group_rule,
    **{
        f"/network/v2.0/{kind}/{{id}}/tags{below}": TAGS
        for kind in ("networks", "subnets", "subnetpools", "ports", "routers", "floatingips", "security-groups", "security-group-rules")
        for below in ("", "/{tag}")
    },
    "/volume/v3/volumes": VOLUME.quota_volumes,
    "/volume/v3/snapshots": VOLUME.quota_snapshots,
    "/volume/v3/attachments": volume_rules.MAX_ATTACHMENTS,
    "/volume/v3/volumes/{id}/metadata": volume_fields.MOST_ITEMS,
    "/volume/v3/snapshots/{id}/metadata": volume_fields.MOST_ITEMS,
    "/volume/v3/volume-transfers": ONE,
    "/volume/v3/os-volume-transfer": ONE,
}
MADE_BY_PUT = ("/tags/{tag}", "/add_extraroutes", "/add_router_interface")
MAKES_NOTHING = {  # though it is asked for by POST
    *("/identity/v3/auth/tokens", "/identity/v3/users/{user_id}/password", "/image/v2/images/{image_id}/import"),
    *("/volume/v3/attachments/{id}/action", "/volume/v3/snapshots/{id}/action", "/volume/v3/volumes/{id}/action"),
    *("/volume/v3/volume-transfers/{id}/accept", "/volume/v3/os-volume-transfer/{id}/accept"),
    *("/compute/os-baremetal-nodes", "/certs/enrol", "/certs/renew", "/console/"),
}


@pytest.mark.parametrize("path", LIMITS)
def test_each_limit_is_one(path: str) -> None:
    assert LIMITS[path] > 0


async def test_whatever_users_make_has_a_limit(served: tuple[app.App, TestServer]) -> None:
    running, server = served
    token = await login(running, server)
    unlimited = []
    async with ClientSession(headers={"X-Auth-Token": token}) as demo:
        for path in sorted(making(running)):
            if path in LIMITS or path in MAKES_NOTHING:
                continue
            url = path.replace("/volume/v3", "/volume/v3/{project}").replace("{", "").replace("}", "")
            async with demo.post(server.make_url(url), json={"binding": {"host": "h"}}) as answer:
                if answer.status not in (403, 404, 405, 501):
                    unlimited.append((path, answer.status, await answer.text()))
    assert unlimited == [], "what does a user make here, and how many at most?"
    assert set(LIMITS) | MAKES_NOTHING <= making(running) | compute(), "what is no route any more needs no limit"
    assert compute() <= set(LIMITS) | MAKES_NOTHING, "what does a user make here, and how many at most?"


def compute() -> set[str]:
    """Paths of the compute API by which users make something, other than by an action on a server."""
    defaults = {rule.name: rule.default for rule in RULES}
    closed = {ADMIN, SERVICE}
    made = [route for route in ROUTES if route.method == "POST" and route.action is None and route.handler is not None]
    made += [route for route in ROUTES if route.method == "PUT" and route.path.endswith("/tags/{id}")]
    return {f"/compute{route.path}" for route in made if defaults.get(route.policy or "") not in closed}


def making(running: app.App) -> set[str]:
    """Paths of the other services by which something may be made."""
    found: set[str] = set()
    for mounted in running._site.router.resources():
        service: Any = getattr(mounted, "_app", None)
        for route in service.router.routes() if service else ():
            path = route.resource.canonical.replace("/volume/v3/{project}", "/volume/v3")
            if route.method == "POST" or (route.method == "PUT" and path.endswith(MADE_BY_PUT)):
                found.add(path)
    return found


async def login(running: app.App, server: TestServer) -> str:
    assert running.secrets is not None
    user = {"name": "demo", "domain": {"id": "default"}, "password": running.secrets.demo.password}
    scope = {"project": {"name": "demo", "domain": {"id": "default"}}}
    asked = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}
    async with ClientSession() as session, session.post(server.make_url("/identity/v3/auth/tokens"), json=asked) as answer:
        assert answer.status == 201, await answer.text()
        return answer.headers["X-Subject-Token"]
