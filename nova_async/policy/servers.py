"""Policies of servers and of what is done to them."""

from nova_async.policy.rule import ADMIN, MANAGER, MEMBER, NOBODY, READER, Rule

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

REBUILD = "os_compute_api:servers:rebuild"
REBUILD_TRUSTED_CERTS = "os_compute_api:servers:rebuild:trusted_certs"
RESIZE = "os_compute_api:servers:resize"
CONFIRM_RESIZE = "os_compute_api:servers:confirm_resize"
REVERT_RESIZE = "os_compute_api:servers:revert_resize"
MIGRATE = "os_compute_api:os-migrate-server:migrate"
MIGRATE_HOST = "os_compute_api:os-migrate-server:migrate:host"
MIGRATE_LIVE = "os_compute_api:os-migrate-server:migrate_live"
MIGRATE_LIVE_HOST = "os_compute_api:os-migrate-server:migrate_live:host"
EVACUATE = "os_compute_api:os-evacuate"
CREATE_IMAGE = "os_compute_api:servers:create_image"
CREATE_IMAGE_VOLUME_BACKED = "os_compute_api:servers:create_image:allow_volume_backed"
CREATE_BACKUP = "os_compute_api:os-create-backup"
RESCUE = "os_compute_api:os-rescue"
UNRESCUE = "os_compute_api:os-unrescue"
SHELVE = "os_compute_api:os-shelve:shelve"
SHELVE_OFFLOAD = "os_compute_api:os-shelve:shelve_offload"
UNSHELVE = "os_compute_api:os-shelve:unshelve"
UNSHELVE_HOST = "os_compute_api:os-shelve:unshelve_to_host"
CHANGE_PASSWORD = "os_compute_api:os-admin-password"
RESTORE = "os_compute_api:os-deferred-delete:restore"
CRASH_DUMP = "os_compute_api:servers:trigger_crash_dump"
INJECT_NETWORK_INFO = "os_compute_api:os-admin-actions:inject_network_info"
ADD_SECURITY_GROUP = "os_compute_api:os-security-groups:add"
REMOVE_SECURITY_GROUP = "os_compute_api:os-security-groups:remove"
LIST_SECURITY_GROUPS = "os_compute_api:os-security-groups:list"
ADD_FIXED_IP = "os_compute_api:os-multinic:add"
REMOVE_FIXED_IP = "os_compute_api:os-multinic:remove"
ADD_FLOATING_IP = "os_compute_api:os-floating-ips:add"
REMOVE_FLOATING_IP = "os_compute_api:os-floating-ips:remove"
REMOTE_CONSOLES = "os_compute_api:os-remote-consoles"
DIAGNOSTICS = "os_compute_api:os-server-diagnostics"
TOPOLOGY = "compute:server:topology:index"
TOPOLOGY_HOST = "compute:server:topology:host:index"

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
    Rule(REBUILD, MEMBER, "Rebuild a server."),
    Rule(REBUILD_TRUSTED_CERTS, MEMBER, "Rebuild a server with trusted image certificates."),
    Rule(RESIZE, MEMBER, "Give a server another flavor."),
    Rule(CONFIRM_RESIZE, MEMBER, "Confirm a resize."),
    Rule(REVERT_RESIZE, MEMBER, "Revert a resize."),
    Rule(MIGRATE, MANAGER, "Move a server to another host while it is off."),
    Rule(MIGRATE_HOST, ADMIN, "Name the host to which a server is moved."),
    Rule(MIGRATE_LIVE, MANAGER, "Move a server to another host while it runs."),
    Rule(MIGRATE_LIVE_HOST, ADMIN, "Name the host to which a running server is moved."),
    Rule(EVACUATE, ADMIN, "Rebuild a server of a host that is down on another."),
    Rule(CREATE_IMAGE, MEMBER, "Make an image of a server."),
    Rule(CREATE_IMAGE_VOLUME_BACKED, MEMBER, "Make an image of a server that runs from a volume."),
    Rule(CREATE_BACKUP, MEMBER, "Make a backup of a server."),
    Rule(RESCUE, MEMBER, "Rescue a server."),
    Rule(UNRESCUE, MEMBER, "End the rescue of a server."),
    Rule(SHELVE, MEMBER, "Shelve a server."),
    Rule(SHELVE_OFFLOAD, ADMIN, "Take a shelved server off its host."),
    Rule(UNSHELVE, MEMBER, "Unshelve a server."),
    Rule(UNSHELVE_HOST, ADMIN, "Unshelve a server to a host of choice."),
    Rule(CHANGE_PASSWORD, MEMBER, "Change the administrator's password of a server."),
    Rule(RESTORE, MEMBER, "Restore a deleted server."),
    Rule(CRASH_DUMP, MEMBER, "Trigger a crash dump of a server."),
    Rule(INJECT_NETWORK_INFO, ADMIN, "Tell a server's host of its network again."),
    Rule(ADD_SECURITY_GROUP, MEMBER, "Put a server into a security group."),
    Rule(REMOVE_SECURITY_GROUP, MEMBER, "Take a server out of a security group."),
    Rule(LIST_SECURITY_GROUPS, READER, "List a server's security groups."),
    Rule(ADD_FIXED_IP, MEMBER, "Add a fixed IP to a server."),
    Rule(REMOVE_FIXED_IP, MEMBER, "Take a fixed IP from a server."),
    Rule(ADD_FLOATING_IP, MEMBER, "Associate a floating IP with a server."),
    Rule(REMOVE_FLOATING_IP, MEMBER, "Disassociate a floating IP from a server."),
    Rule(REMOTE_CONSOLES, MEMBER, "Open a remote console."),
    Rule(DIAGNOSTICS, ADMIN, "Show diagnostics of a server."),
    Rule(TOPOLOGY, READER, "Show a server's NUMA topology."),
    Rule(TOPOLOGY_HOST, ADMIN, "See where on its host a server's NUMA cells are."),
    Rule(CROSS_CELL_RESIZE, NOBODY, "Resize a server into another cell."),
)
