"""Policies of flavors."""

from nova_async.policy.rule import ADMIN, READER, Rule

CREATE = "os_compute_api:os-flavor-manage:create"
UPDATE = "os_compute_api:os-flavor-manage:update"
DELETE = "os_compute_api:os-flavor-manage:delete"
EXTRA_SPECS_INDEX = "os_compute_api:os-flavor-extra-specs:index"

RULES = (
    Rule(CREATE, ADMIN, "Create a flavor."),
    Rule(UPDATE, ADMIN, "Change a flavor's description."),
    Rule(DELETE, ADMIN, "Delete a flavor."),
    Rule(EXTRA_SPECS_INDEX, READER, "See extra specs, also inside flavors."),
)
