"""The identity API, Keystone v3, to be mounted at ``/identity``."""

from collections.abc import Awaitable, Callable
from enum import Enum

from aiohttp import web

from nova_async import errors
from nova_async.config import Config
from nova_async.services.identity.builtin import BuiltinIdentity
from nova_async.services.identity.call import Call, fault
from nova_async.services.identity.handlers import access_rules, auth, catalog, credentials, limits, projects, roles, user_credentials, users
from nova_async.services.web import edge
from nova_async.world import World

Handler = Callable[[Call], Awaitable[web.Response]]


class Who(Enum):
    """Who may use a route."""

    ALL = "anybody, without a token"
    KNOWN = "anybody with a token; the handler looks closer"
    SELF = "the user in the path, administrators, readers of the system (GET only)"
    READER = "administrators, and readers of the system"
    ADMIN = "administrators"


ROUTES: tuple[tuple[str, str, Handler, Who], ...] = (
    ("GET", "", auth.versions, Who.ALL),
    ("GET", "/", auth.versions, Who.ALL),
    ("GET", "/v3", auth.version, Who.ALL),
    ("GET", "/v3/", auth.version, Who.ALL),
    # tokens
    ("POST", "/v3/auth/tokens", auth.issue, Who.ALL),
    ("GET", "/v3/auth/tokens", auth.show, Who.KNOWN),
    ("DELETE", "/v3/auth/tokens", auth.revoke, Who.KNOWN),
    ("GET", "/v3/auth/catalog", auth.catalog, Who.KNOWN),
    ("GET", "/v3/auth/projects", auth.projects, Who.KNOWN),
    ("GET", "/v3/auth/domains", auth.domains, Who.KNOWN),
    ("GET", "/v3/auth/system", auth.system, Who.KNOWN),
    # domains and projects
    ("GET", "/v3/domains", projects.list_domains, Who.READER),
    ("POST", "/v3/domains", projects.create_domain, Who.ADMIN),
    ("GET", "/v3/domains/{domain_id}", projects.show_domain, Who.KNOWN),
    ("PATCH", "/v3/domains/{domain_id}", projects.update_domain, Who.ADMIN),
    ("DELETE", "/v3/domains/{domain_id}", projects.delete_domain, Who.ADMIN),
    ("GET", "/v3/projects", projects.list_, Who.KNOWN),
    ("POST", "/v3/projects", projects.create, Who.ADMIN),
    ("GET", "/v3/projects/{project_id}", projects.show, Who.KNOWN),
    ("PATCH", "/v3/projects/{project_id}", projects.update, Who.ADMIN),
    ("DELETE", "/v3/projects/{project_id}", projects.delete, Who.ADMIN),
    ("GET", "/v3/projects/{project_id}/tags", projects.tags, Who.KNOWN),
    ("PUT", "/v3/projects/{project_id}/tags", projects.replace_tags, Who.ADMIN),
    ("DELETE", "/v3/projects/{project_id}/tags", projects.clear_tags, Who.ADMIN),
    ("GET", "/v3/projects/{project_id}/tags/{tag}", projects.has_tag, Who.KNOWN),
    ("PUT", "/v3/projects/{project_id}/tags/{tag}", projects.add_tag, Who.ADMIN),
    ("DELETE", "/v3/projects/{project_id}/tags/{tag}", projects.remove_tag, Who.ADMIN),
    # users and groups
    ("GET", "/v3/users", users.list_, Who.READER),
    ("POST", "/v3/users", users.create, Who.ADMIN),
    ("GET", "/v3/users/{user_id}", users.show, Who.SELF),
    ("PATCH", "/v3/users/{user_id}", users.update, Who.ADMIN),
    ("DELETE", "/v3/users/{user_id}", users.delete, Who.ADMIN),
    ("POST", "/v3/users/{user_id}/password", users.change_password, Who.SELF),
    ("GET", "/v3/users/{user_id}/projects", projects.of_user, Who.SELF),
    ("GET", "/v3/users/{user_id}/groups", users.groups_of_user, Who.SELF),
    ("GET", "/v3/users/{user_id}/access_rules", access_rules.list_, Who.SELF),
    ("GET", "/v3/users/{user_id}/access_rules/{rule_id}", access_rules.show, Who.SELF),
    ("DELETE", "/v3/users/{user_id}/access_rules/{rule_id}", access_rules.delete, Who.SELF),
    ("GET", "/v3/users/{user_id}/application_credentials", credentials.list_, Who.SELF),
    ("POST", "/v3/users/{user_id}/application_credentials", credentials.create, Who.SELF),
    ("GET", "/v3/users/{user_id}/application_credentials/{credential_id}", credentials.show, Who.SELF),
    ("DELETE", "/v3/users/{user_id}/application_credentials/{credential_id}", credentials.delete, Who.SELF),
    ("GET", "/v3/users/{user_id}/credentials/OS-EC2", user_credentials.list_ec2, Who.SELF),
    ("POST", "/v3/users/{user_id}/credentials/OS-EC2", user_credentials.create_ec2, Who.SELF),
    ("GET", "/v3/users/{user_id}/credentials/OS-EC2/{access}", user_credentials.show_ec2, Who.SELF),
    ("DELETE", "/v3/users/{user_id}/credentials/OS-EC2/{access}", user_credentials.delete_ec2, Who.SELF),
    ("GET", "/v3/credentials", user_credentials.list_, Who.KNOWN),
    ("POST", "/v3/credentials", user_credentials.create, Who.KNOWN),
    ("GET", "/v3/credentials/{credential_id}", user_credentials.show, Who.KNOWN),
    ("PATCH", "/v3/credentials/{credential_id}", user_credentials.update, Who.KNOWN),
    ("DELETE", "/v3/credentials/{credential_id}", user_credentials.delete, Who.KNOWN),
    ("GET", "/v3/groups", users.list_groups, Who.READER),
    ("POST", "/v3/groups", users.create_group, Who.ADMIN),
    ("GET", "/v3/groups/{group_id}", users.show_group, Who.READER),
    ("PATCH", "/v3/groups/{group_id}", users.update_group, Who.ADMIN),
    ("DELETE", "/v3/groups/{group_id}", users.delete_group, Who.ADMIN),
    ("GET", "/v3/groups/{group_id}/users", users.members, Who.READER),
    ("GET", "/v3/groups/{group_id}/users/{user_id}", users.is_member, Who.READER),
    ("PUT", "/v3/groups/{group_id}/users/{user_id}", users.add_member, Who.ADMIN),
    ("DELETE", "/v3/groups/{group_id}/users/{user_id}", users.remove_member, Who.ADMIN),
    # roles
    ("GET", "/v3/roles", roles.list_, Who.READER),
    ("POST", "/v3/roles", roles.create, Who.ADMIN),
    ("GET", "/v3/roles/{role_id}", roles.show, Who.READER),
    ("PATCH", "/v3/roles/{role_id}", roles.update, Who.ADMIN),
    ("DELETE", "/v3/roles/{role_id}", roles.delete, Who.ADMIN),
    ("GET", "/v3/roles/{prior_id}/implies", roles.implied_by, Who.READER),
    ("HEAD", "/v3/roles/{prior_id}/implies/{implied_id}", roles.has_implied, Who.READER),
    ("GET", "/v3/roles/{prior_id}/implies/{implied_id}", roles.implied, Who.READER),
    ("PUT", "/v3/roles/{prior_id}/implies/{implied_id}", roles.imply, Who.ADMIN),
    ("DELETE", "/v3/roles/{prior_id}/implies/{implied_id}", roles.unimply, Who.ADMIN),
    ("GET", "/v3/role_inferences", roles.inferences, Who.READER),
    ("GET", "/v3/role_assignments", roles.assignments, Who.KNOWN),
    # the catalog
    ("GET", "/v3/regions", catalog.list_regions, Who.KNOWN),
    ("POST", "/v3/regions", catalog.create_region, Who.ADMIN),
    ("GET", "/v3/regions/{region_id}", catalog.show_region, Who.KNOWN),
    ("PUT", "/v3/regions/{region_id}", catalog.create_region, Who.ADMIN),
    ("PATCH", "/v3/regions/{region_id}", catalog.update_region, Who.ADMIN),
    ("DELETE", "/v3/regions/{region_id}", catalog.delete_region, Who.ADMIN),
    ("GET", "/v3/services", catalog.list_services, Who.READER),
    ("POST", "/v3/services", catalog.create_service, Who.ADMIN),
    ("GET", "/v3/services/{service_id}", catalog.show_service, Who.READER),
    ("PATCH", "/v3/services/{service_id}", catalog.update_service, Who.ADMIN),
    ("DELETE", "/v3/services/{service_id}", catalog.delete_service, Who.ADMIN),
    ("GET", "/v3/endpoints", catalog.list_endpoints, Who.READER),
    ("POST", "/v3/endpoints", catalog.create_endpoint, Who.ADMIN),
    ("GET", "/v3/endpoints/{endpoint_id}", catalog.show_endpoint, Who.READER),
    ("PATCH", "/v3/endpoints/{endpoint_id}", catalog.update_endpoint, Who.ADMIN),
    ("DELETE", "/v3/endpoints/{endpoint_id}", catalog.delete_endpoint, Who.ADMIN),
    # limits
    ("GET", "/v3/registered_limits", limits.list_registered, Who.KNOWN),
    ("POST", "/v3/registered_limits", limits.create_registered, Who.ADMIN),
    ("GET", "/v3/registered_limits/{registered_limit_id}", limits.show_registered, Who.KNOWN),
    ("PATCH", "/v3/registered_limits/{registered_limit_id}", limits.update_registered, Who.ADMIN),
    ("DELETE", "/v3/registered_limits/{registered_limit_id}", limits.delete_registered, Who.ADMIN),
    ("GET", "/v3/limits/model", limits.model, Who.KNOWN),
    ("GET", "/v3/limits", limits.list_, Who.KNOWN),
    ("POST", "/v3/limits", limits.create, Who.ADMIN),
    ("GET", "/v3/limits/{limit_id}", limits.show, Who.KNOWN),
    ("PATCH", "/v3/limits/{limit_id}", limits.update, Who.ADMIN),
    ("DELETE", "/v3/limits/{limit_id}", limits.delete, Who.ADMIN),
)

# Each target and actor: list, check, grant, revoke; for projects and domains also inherited by the projects below.
TARGETS = ("/v3/projects/{project_id}", "/v3/domains/{domain_id}", "/v3/system")
ACTORS = ("/users/{user_id}", "/groups/{group_id}")
GRANTS: tuple[tuple[str, str, Handler, Who], ...] = (
    ("GET", "/roles", roles.grants, Who.READER),
    ("GET", "/roles/{role_id}", roles.has_grant, Who.READER),
    ("PUT", "/roles/{role_id}", roles.grant, Who.ADMIN),
    ("DELETE", "/roles/{role_id}", roles.ungrant, Who.ADMIN),
)


def table() -> list[tuple[str, str, Handler, Who]]:
    """Every route."""
    rows = list(ROUTES)
    for target in TARGETS:
        for actor in ACTORS:
            rows += [(method, target + actor + path, handler, who) for method, path, handler, who in GRANTS]
            if target != "/v3/system":
                below = target.replace("/v3/", "/v3/OS-INHERIT/") + actor
                rows += [(method, f"{below}{path}/inherited_to_projects", handler, who) for method, path, handler, who in GRANTS]
    return rows


def application(identity: BuiltinIdentity, world: World, config: Config) -> web.Application:
    """The API as an application of its own; ``root.add_subapp("/identity", application(...))``."""
    open_to_all = set()
    app = web.Application(
        middlewares=[edge(world, identity, fault, lambda request: request.match_info.handler in open_to_all)], client_max_size=2**20
    )
    for method, path, handler, who in table():
        served = _served(identity, handler, who)
        if who is Who.ALL:
            open_to_all.add(served)
        if method == "GET":
            app.router.add_get(path, served, allow_head=not path.endswith("{implied_id}"))
        else:
            app.router.add_route(method, path, served)
    return app


def _served(identity: BuiltinIdentity, handler: Handler, who: Who) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def serve(request: web.Request) -> web.StreamResponse:
        _check_text(request)
        token = None if who is Who.ALL else await identity.read(request.headers.get("X-Auth-Token", ""))
        call = Call(request, identity, token)
        _check_access(call, who)
        response = await handler(call)
        response.headers.setdefault("Vary", "X-Auth-Token")
        return response

    return serve


def _check_text(request: web.Request) -> None:
    """Path and query must be text that a database can hold."""
    for text in (*request.match_info.values(), *request.query.keys(), *request.query.values()):
        if "\0" in text or any("\ud800" <= c <= "\udfff" for c in text):
            raise errors.Invalid("The URL holds characters that are not allowed.")


def _check_access(call: Call, who: Who) -> None:
    match who:
        case Who.ALL | Who.KNOWN:
            return
        case Who.SELF:
            reading = call.request.method in ("GET", "HEAD")
            allowed = call.id("user_id") == call.token.user_id or call.is_admin or (reading and call.reads_all)
        case Who.READER:
            allowed = call.reads_all
        case Who.ADMIN:
            allowed = call.is_admin
    if not allowed:
        raise errors.Forbidden(f"You are not authorized to perform the requested action: it is for {who.value}.")
