"""Policies of servers and of what is done to them."""

from nova_async.policy.rule import ADMIN, MEMBER, NOBODY, READER, Rule

INDEX = "os_compute_api:servers:index"
INDEX_ALL = "os_compute_api:servers:index:get_all_tenants"
DETAIL = "os_compute_api:servers:detail"
DETAIL_ALL = "os_compute_api:servers:detail:get_all_tenants"
ALL_FILTERS = "os_compute_api:servers:allow_all_filters"
SHOW = "os_compute_api:servers:show"
SHOW_EXTRA_SPECS = "os_compute_api:servers:show:flavor-extra-specs"
SHOW_HOST_STATUS = "os_compute_api:servers:show:host_status"
SHOW_UNKNOWN_HOST_STATUS = "os_compute_api:servers:show:host_status:unknown-only"
EXTENDED_ATTRIBUTES = "os_compute_api:os-extended-server-attributes"
CREATE = "os_compute_api:servers:create"
CREATE_FORCED_HOST = "os_compute_api:servers:create:forced_host"
CREATE_DESTINATION = "compute:servers:create:requested_destination"
CREATE_ATTACH_VOLUME = "os_compute_api:servers:create:attach_volume"
CREATE_ATTACH_NETWORK = "os_compute_api:servers:create:attach_network"
CREATE_TRUSTED_CERTS = "os_compute_api:servers:create:trusted_certs"
CREATE_ZERO_DISK = "os_compute_api:servers:create:zero_disk_flavor"
ATTACH_EXTERNAL_NETWORK = "network:attach_external_network"
UPDATE = "os_compute_api:servers:update"
DELETE = "os_compute_api:servers:delete"
START = "os_compute_api:servers:start"
STOP = "os_compute_api:servers:stop"
REBOOT = "os_compute_api:servers:reboot"
PAUSE = "os_compute_api:os-pause-server:pause"
UNPAUSE = "os_compute_api:os-pause-server:unpause"
SUSPEND = "os_compute_api:os-suspend-server:suspend"
RESUME = "os_compute_api:os-suspend-server:resume"
LOCK = "os_compute_api:os-lock-server:lock"
UNLOCK = "os_compute_api:os-lock-server:unlock"
UNLOCK_OVERRIDE = "os_compute_api:os-lock-server:unlock:unlock_override"
CONSOLE_OUTPUT = "os_compute_api:os-console-output"
RESET_STATE = "os_compute_api:os-admin-actions:reset_state"
FORCE_DELETE = "os_compute_api:os-deferred-delete:force"
CROSS_CELL_RESIZE = "compute:servers:resize:cross_cell"

RULES = (
    Rule(INDEX, READER, "List servers."),
    Rule(INDEX_ALL, ADMIN, "List the servers of all projects."),
    Rule(DETAIL, READER, "List servers with details."),
    Rule(DETAIL_ALL, ADMIN, "List the servers of all projects with details."),
    Rule(ALL_FILTERS, ADMIN, "Use every filter of server lists."),
    Rule(SHOW, READER, "Show a server."),
    Rule(SHOW_EXTRA_SPECS, READER, "See the extra specs in a server's flavor."),
    Rule(SHOW_HOST_STATUS, ADMIN, "See the status of a server's host."),
    Rule(SHOW_UNKNOWN_HOST_STATUS, ADMIN, "See that the status of a server's host is unknown."),
    Rule(EXTENDED_ATTRIBUTES, ADMIN, "See host, node and other attributes of a server."),
    Rule(CREATE, MEMBER, "Create servers."),
    Rule(CREATE_FORCED_HOST, ADMIN, "Create servers on a host of choice, past the scheduler."),
    Rule(CREATE_DESTINATION, ADMIN, "Create servers on a host of choice that the scheduler checks."),
    Rule(CREATE_ATTACH_VOLUME, MEMBER, "Create servers with volumes."),
    Rule(CREATE_ATTACH_NETWORK, MEMBER, "Create servers with networks."),
    Rule(CREATE_TRUSTED_CERTS, MEMBER, "Create servers with trusted image certificates."),
    Rule(CREATE_ZERO_DISK, ADMIN, "Create servers from an image with a flavor that has no disk."),
    Rule(ATTACH_EXTERNAL_NETWORK, ADMIN, "Attach a server to an external network that is not shared."),
    Rule(UPDATE, MEMBER, "Change a server."),
    Rule(DELETE, MEMBER, "Delete a server."),
    Rule(START, MEMBER, "Start a server."),
    Rule(STOP, MEMBER, "Stop a server."),
    Rule(REBOOT, MEMBER, "Reboot a server."),
    Rule(PAUSE, MEMBER, "Pause a server."),
    Rule(UNPAUSE, MEMBER, "Unpause a server."),
    Rule(SUSPEND, MEMBER, "Suspend a server."),
    Rule(RESUME, MEMBER, "Resume a server."),
    Rule(LOCK, MEMBER, "Lock a server."),
    Rule(UNLOCK, MEMBER, "Unlock a server."),
    Rule(UNLOCK_OVERRIDE, ADMIN, "Unlock a server that somebody else locked."),
    Rule(CONSOLE_OUTPUT, MEMBER, "Read a server's console."),
    Rule(RESET_STATE, ADMIN, "Set a server's state."),
    Rule(FORCE_DELETE, MEMBER, "Delete a server at once."),
    Rule(CROSS_CELL_RESIZE, NOBODY, "Resize a server into another cell."),
)
