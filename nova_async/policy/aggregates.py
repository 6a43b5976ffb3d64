"""Policies of host aggregates."""

from nova_async.policy.rule import ADMIN, Rule

INDEX = "os_compute_api:os-aggregates:index"
CREATE = "os_compute_api:os-aggregates:create"
SHOW = "os_compute_api:os-aggregates:show"
UPDATE = "os_compute_api:os-aggregates:update"
DELETE = "os_compute_api:os-aggregates:delete"
ADD_HOST = "os_compute_api:os-aggregates:add_host"
REMOVE_HOST = "os_compute_api:os-aggregates:remove_host"
SET_METADATA = "os_compute_api:os-aggregates:set_metadata"
IMAGES = "compute:aggregates:images"

RULES = (
    Rule(INDEX, ADMIN, "List aggregates."),
    Rule(CREATE, ADMIN, "Create an aggregate."),
    Rule(SHOW, ADMIN, "Show an aggregate."),
    Rule(UPDATE, ADMIN, "Change the name or the zone of an aggregate."),
    Rule(DELETE, ADMIN, "Delete an aggregate."),
    Rule(ADD_HOST, ADMIN, "Add a host to an aggregate."),
    Rule(REMOVE_HOST, ADMIN, "Take a host out of an aggregate."),
    Rule(SET_METADATA, ADMIN, "Change the metadata of an aggregate."),
    Rule(IMAGES, ADMIN, "Ask the hosts of an aggregate to fetch images beforehand."),
)
