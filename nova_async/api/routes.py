"""THE table: everything that can be asked of the compute API.

Dispatch, microversion ranges, policies, validation, views, the OpenAPI document and the exhaustive tests read it.
Columns: method, path, handler, what it does; then by name the body's action key, versions, success status, policy and whose
thing it is decided for, body schema, query schema, view. See ``route.Route``.
"""

from nova_async.api.handlers import flavors, versions
from nova_async.api.route import Route, removed
from nova_async.api.schemas import flavors as flavor_schemas
from nova_async.api.versions import V
from nova_async.api.views import flavors as flavor_views
from nova_async.policy import flavors as flavor_policy
from nova_async.policy import versions as version_policy

# fmt: off
ROUTES: tuple[Route, ...] = (
    Route("GET", "/versions/{id}", versions.show, "Show one version of the API."),
    Route("GET", "/extensions", versions.extensions, "List the extensions.", policy=version_policy.EXTENSIONS),
    Route("GET", "/extensions/{id}", versions.extension, "Show an extension.", policy=version_policy.EXTENSIONS),

    # Flavors
    Route("GET", "/flavors", flavors.index, "List flavors.", query=flavor_schemas.LIST, view=flavor_views.LIST),
    Route("POST", "/flavors", flavors.create, "Create a flavor.",
          policy=flavor_policy.CREATE, body=flavor_schemas.CREATE, view=flavor_views.SHOW),
    Route("GET", "/flavors/detail", flavors.index, "List flavors with all that is known of them.",
          query=flavor_schemas.LIST, view=flavor_views.DETAIL),
    Route("GET", "/flavors/{id}", flavors.show, "Show a flavor.", view=flavor_views.SHOW),
    Route("PUT", "/flavors/{id}", flavors.update, "Change a flavor's description.",
          since=V.FLAVOR_DESCRIPTION, policy=flavor_policy.UPDATE, body=flavor_schemas.UPDATE, view=flavor_views.SHOW),
    Route("DELETE", "/flavors/{id}", flavors.delete, "Delete a flavor.", success=202, policy=flavor_policy.DELETE),

    # Gone for good
    removed("GET", "/os-agents"),
    removed("POST", "/os-agents"),
    removed("PUT", "/os-agents/{id}"),
    removed("DELETE", "/os-agents/{id}"),
)
