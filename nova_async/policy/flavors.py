"""Policies of flavors."""

from nova_async.policy.rule import ADMIN, READER, Rule

CREATE = "os_compute_api:os-flavor-manage:create"
UPDATE = "os_compute_api:os-flavor-manage:update"
DELETE = "os_compute_api:os-flavor-manage:delete"
EXTRA_SPECS_INDEX = "os_compute_api:os-flavor-extra-specs:index"
EXTRA_SPECS_SHOW = "os_compute_api:os-flavor-extra-specs:show"
EXTRA_SPECS_CREATE = "os_compute_api:os-flavor-extra-specs:create"
EXTRA_SPECS_UPDATE = "os_compute_api:os-flavor-extra-specs:update"
EXTRA_SPECS_DELETE = "os_compute_api:os-flavor-extra-specs:delete"
ACCESS = "os_compute_api:os-flavor-access"
ADD_ACCESS = "os_compute_api:os-flavor-access:add_tenant_access"
REMOVE_ACCESS = "os_compute_api:os-flavor-access:remove_tenant_access"

RULES = (
    Rule(CREATE, ADMIN, "Create a flavor."),
    Rule(UPDATE, ADMIN, "Change a flavor's description."),
    Rule(DELETE, ADMIN, "Delete a flavor."),
    Rule(EXTRA_SPECS_INDEX, READER, "See extra specs, also inside flavors."),
    Rule(EXTRA_SPECS_SHOW, READER, "Show one extra spec of a flavor."),
    Rule(EXTRA_SPECS_CREATE, ADMIN, "Add extra specs to a flavor."),
    Rule(EXTRA_SPECS_UPDATE, ADMIN, "Change an extra spec of a flavor."),
    Rule(EXTRA_SPECS_DELETE, ADMIN, "Delete an extra spec of a flavor."),
    Rule(ACCESS, ADMIN, "List the projects that may use a private flavor."),
    Rule(ADD_ACCESS, ADMIN, "Let a project use a private flavor."),
    Rule(REMOVE_ACCESS, ADMIN, "No longer let a project use a private flavor."),
)
