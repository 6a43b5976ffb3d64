"""THE table: everything that can be asked of the compute API.

Dispatch, microversion ranges, policies, validation, views, the OpenAPI document and the exhaustive tests read it.
Columns: method, path, handler, what it does; then by name the body's action key, versions, success status and others, policy and whose
thing it is decided for, body schema, query schema, view. See ``route.Route``.
"""

from msgspec.structs import replace

from nova_async.api.handlers import (
    actions,
    aggregates,
    assisted_volume_snapshots,
    availability_zones,
    baremetal_nodes,
    external_events,
    flavor_access,
    flavor_extra_specs,
    flavors,
    floating_ips,
    hosts,
    hypervisors,
    images,
    instance_actions,
    keypairs,
    limits,
    migrations,
    network_proxies,
    quota_class_sets,
    quota_sets,
    security_groups,
    server_consoles,
    server_create,
    server_diagnostics,
    server_groups,
    server_images,
    server_interfaces,
    server_ips,
    server_metadata,
    server_migrations,
    server_moves,
    server_networking,
    server_passwords,
    server_rebuild,
    server_rescue,
    server_scheduling,
    server_shares,
    server_shelving,
    server_tags,
    server_topology,
    server_volumes,
    servers,
    services,
    usage,
    usage_audits,
    versions,
    volume_proxies,
)
from nova_async.api.route import Route, removed
from nova_async.api.schemas import actions as action_schemas
from nova_async.api.schemas import aggregates as aggregate_schemas
from nova_async.api.schemas import external_events as event_schemas
from nova_async.api.schemas import flavors as flavor_schemas
from nova_async.api.schemas import floating_ips as floating_ip_schemas
from nova_async.api.schemas import hosts as host_schemas
from nova_async.api.schemas import hypervisors as hypervisor_schemas
from nova_async.api.schemas import images as image_schemas
from nova_async.api.schemas import instance_actions as instance_action_schemas
from nova_async.api.schemas import keypairs as keypair_schemas
from nova_async.api.schemas import limits as limit_schemas
from nova_async.api.schemas import migrations as migration_schemas
from nova_async.api.schemas import quota_sets as quota_schemas
from nova_async.api.schemas import security_groups as security_group_schemas
from nova_async.api.schemas import server_groups as group_schemas
from nova_async.api.schemas import server_interfaces as interface_schemas
from nova_async.api.schemas import server_metadata as metadata_schemas
from nova_async.api.schemas import server_shares as share_schemas
from nova_async.api.schemas import server_tags as tag_schemas
from nova_async.api.schemas import server_volumes as volume_schemas
from nova_async.api.schemas import servers as server_schemas
from nova_async.api.schemas import services as service_schemas
from nova_async.api.schemas import usage as usage_schemas
from nova_async.api.schemas.actions import bare
from nova_async.api.versions import V
from nova_async.api.views import aggregates as aggregate_views
from nova_async.api.views import availability_zones as zone_views
from nova_async.api.views import external_events as event_views
from nova_async.api.views import flavors as flavor_views
from nova_async.api.views import floating_ips as floating_ip_views
from nova_async.api.views import hosts as host_views
from nova_async.api.views import hypervisors as hypervisor_views
from nova_async.api.views import images as image_views
from nova_async.api.views import instance_actions as instance_action_views
from nova_async.api.views import keypairs as keypair_views
from nova_async.api.views import limits as limit_views
from nova_async.api.views import migrations as migration_views
from nova_async.api.views import network_proxies as network_views
from nova_async.api.views import quota_sets as quota_views
from nova_async.api.views import security_groups as security_group_views
from nova_async.api.views import server_consoles as console_views
from nova_async.api.views import server_diagnostics as diagnostic_views
from nova_async.api.views import server_groups as group_views
from nova_async.api.views import server_images as server_image_views
from nova_async.api.views import server_interfaces as interface_views
from nova_async.api.views import server_ips as ip_views
from nova_async.api.views import server_metadata as metadata_views
from nova_async.api.views import server_passwords as password_views
from nova_async.api.views import server_scheduling as scheduling_views
from nova_async.api.views import server_shares as share_views
from nova_async.api.views import server_tags as tag_views
from nova_async.api.views import server_volumes as volume_views
from nova_async.api.views import servers as server_views
from nova_async.api.views import services as service_views
from nova_async.api.views import usage as usage_views
from nova_async.api.views import usage_audits as audit_views
from nova_async.api.views import versions as version_views
from nova_async.policy import aggregates as aggregate_policy
from nova_async.policy import availability_zones as zone_policy
from nova_async.policy import baremetal_nodes as node_policy
from nova_async.policy import console_tokens as console_policy
from nova_async.policy import external_events as event_policy
from nova_async.policy import flavors as flavor_policy
from nova_async.policy import hosts as host_policy
from nova_async.policy import hypervisors as hypervisor_policy
from nova_async.policy import instance_actions as instance_action_policy
from nova_async.policy import keypairs as keypair_policy
from nova_async.policy import limits as limit_policy
from nova_async.policy import migrations as migration_policy
from nova_async.policy import network_proxies as network_policy
from nova_async.policy import quota_class_sets as quota_class_policy
from nova_async.policy import quota_sets as quota_policy
from nova_async.policy import server_groups as group_policy
from nova_async.policy import server_interfaces as interface_policy
from nova_async.policy import server_ips as ip_policy
from nova_async.policy import server_metadata as metadata_policy
from nova_async.policy import server_migrations as server_migration_policy
from nova_async.policy import server_passwords as password_policy
from nova_async.policy import server_scheduling as scheduling_policy
from nova_async.policy import server_shares as share_policy
from nova_async.policy import server_tags as tag_policy
from nova_async.policy import server_volumes as volume_policy
from nova_async.policy import servers as server_policy
from nova_async.policy import services as service_policy
from nova_async.policy import usage as usage_policy
from nova_async.policy import usage_audits as audit_policy
from nova_async.policy import versions as version_policy
from nova_async.policy import volume_proxies as volume_proxy_policy

# fmt: off
ROUTES: tuple[Route, ...] = (
    Route("GET", "/versions/{id}", versions.show, "Show one version of the API.", view=version_views.SHOW),
    Route("GET", "/extensions", versions.extensions, "List the extensions.", policy=version_policy.EXTENSIONS,
          view=version_views.EXTENSIONS),
    Route("GET", "/extensions/{id}", versions.extension, "Show an extension.", policy=version_policy.EXTENSIONS,
          view=version_views.EXTENSION),

    # Flavors
    Route("GET", "/flavors", flavors.index, "List flavors.", query=flavor_schemas.LIST, view=flavor_views.LIST),
    Route("POST", "/flavors", flavors.create, "Create a flavor.",
          policy=flavor_policy.CREATE, body=flavor_schemas.CREATE, view=flavor_views.SHOW, also=(409,)),
    Route("GET", "/flavors/detail", flavors.index, "List flavors with all that is known of them.",
          query=flavor_schemas.LIST, view=flavor_views.DETAIL),
    Route("GET", "/flavors/{id}", flavors.show, "Show a flavor.", view=flavor_views.SHOW),
    Route("PUT", "/flavors/{id}", flavors.update, "Change a flavor's description.",
          since=V.FLAVOR_DESCRIPTION, policy=flavor_policy.UPDATE, body=flavor_schemas.UPDATE, view=flavor_views.SHOW),
    Route("DELETE", "/flavors/{id}", flavors.delete, "Delete a flavor.", success=202, policy=flavor_policy.DELETE),

    # Servers
    Route("GET", "/servers", servers.index, "List servers.",
          policy=server_policy.INDEX, query=server_schemas.LIST, view=server_views.LIST),
    Route("POST", "/servers", server_create.create, "Create servers.",
          success=202, policy=server_policy.CREATE, body=server_schemas.CREATE, view=server_views.CREATED, also=(409,)),
    Route("GET", "/servers/detail", servers.detail, "List servers with all that is known of them.",
          policy=server_policy.DETAIL, query=server_schemas.LIST, view=server_views.DETAIL),
    Route("GET", "/servers/{id}", servers.show, "Show a server.",
          policy=server_policy.SHOW, target="server", view=server_views.SHOW),
    Route("PUT", "/servers/{id}", servers.update, "Change a server's name, description, addresses and the like.",
          policy=server_policy.UPDATE, target="server", body=server_schemas.UPDATE, view=server_views.UPDATE),
    Route("DELETE", "/servers/{id}", servers.delete, "Delete a server.", success=204, policy=server_policy.DELETE, target="server"),

    # Actions on servers
    Route("POST", "/servers/{id}/action", actions.start, "Start a server that is off.", action="os-start",
          success=202, policy=server_policy.START, target="server", body=bare("os-start")),
    Route("POST", "/servers/{id}/action", actions.stop, "Shut a server down.", action="os-stop",
          success=202, policy=server_policy.STOP, target="server", body=bare("os-stop")),
    Route("POST", "/servers/{id}/action", actions.reboot, "Restart a server, SOFT or HARD.", action="reboot",
          success=202, policy=server_policy.REBOOT, target="server", body=action_schemas.REBOOT),
    Route("POST", "/servers/{id}/action", actions.pause, "Freeze a server.", action="pause",
          success=202, policy=server_policy.PAUSE, target="server", body=bare("pause"), also=(501,)),
    Route("POST", "/servers/{id}/action", actions.unpause, "Let a frozen server run on.", action="unpause",
          success=202, policy=server_policy.UNPAUSE, target="server", body=bare("unpause"), also=(501,)),
    Route("POST", "/servers/{id}/action", actions.suspend, "Save a server's memory to disk and stop it.", action="suspend",
          success=202, policy=server_policy.SUSPEND, target="server", body=bare("suspend")),
    Route("POST", "/servers/{id}/action", actions.resume, "Go on from what suspend saved.", action="resume",
          success=202, policy=server_policy.RESUME, target="server", body=bare("resume")),
    Route("POST", "/servers/{id}/action", actions.lock, "Forbid changes to a server.", action="lock",
          success=202, policy=server_policy.LOCK, target="server", body=action_schemas.LOCK),
    Route("POST", "/servers/{id}/action", actions.unlock, "Allow changes again.", action="unlock",
          success=202, policy=server_policy.UNLOCK, target="server", body=bare("unlock")),
    Route("POST", "/servers/{id}/action", actions.console_output, "Read the end of the console's log.", action="os-getConsoleOutput",
          policy=server_policy.CONSOLE_OUTPUT, target="server", body=action_schemas.CONSOLE_OUTPUT, view=console_views.OUTPUT, also=(501,)),
    Route("POST", "/servers/{id}/action", actions.reset_state, "Say what state a server is in.", action="os-resetState",
          success=202, policy=server_policy.RESET_STATE, target="server", body=action_schemas.RESET_STATE),
    Route("POST", "/servers/{id}/action", servers.force_delete, "Delete a server at once.", action="forceDelete",
          success=202, policy=server_policy.FORCE_DELETE, target="server", body=bare("forceDelete")),
    Route("POST", "/servers/{id}/action", server_rebuild.rebuild, "Give a server a new root disk.", action="rebuild",
          success=202, policy=server_policy.REBUILD, target="server", body=action_schemas.REBUILD, view=server_views.REBUILT),
    Route("POST", "/servers/{id}/action", server_moves.resize, "Give a server another flavor.", action="resize",
          success=202, policy=server_policy.RESIZE, target="server", body=action_schemas.RESIZE),
    Route("POST", "/servers/{id}/action", server_moves.confirm, "Confirm a resize.", action="confirmResize",
          success=204, policy=server_policy.CONFIRM_RESIZE, target="server", body=bare("confirmResize")),
    Route("POST", "/servers/{id}/action", server_moves.revert, "Revert a resize.", action="revertResize",
          success=202, policy=server_policy.REVERT_RESIZE, target="server", body=bare("revertResize")),
    Route("POST", "/servers/{id}/action", server_moves.migrate, "Move a server to another host while it is off.", action="migrate",
          success=202, policy=server_policy.MIGRATE, target="server", body=action_schemas.MIGRATE),
    Route("POST", "/servers/{id}/action", server_moves.live_migrate, "Move a running server to another host.", action="os-migrateLive",
          success=202, policy=server_policy.MIGRATE_LIVE, target="server", body=action_schemas.MIGRATE_LIVE),
    Route("POST", "/servers/{id}/action", server_moves.evacuate, "Rebuild a server of a dead host elsewhere.", action="evacuate",
          policy=server_policy.EVACUATE, target="server", body=action_schemas.EVACUATE, view=password_views.EVACUATED),
    Route("POST", "/servers/{id}/action", server_images.create_image, "Make an image of a server.", action="createImage",
          success=202, policy=server_policy.CREATE_IMAGE, target="server", body=action_schemas.CREATE_IMAGE,
          view=server_image_views.CREATED),
    Route("POST", "/servers/{id}/action", server_images.create_backup, "Make a backup, and drop old ones.", action="createBackup",
          success=202, policy=server_policy.CREATE_BACKUP, target="server", body=action_schemas.CREATE_BACKUP,
          view=server_image_views.BACKUP),
    Route("POST", "/servers/{id}/action", server_rescue.rescue, "Boot a broken server from another image.", action="rescue",
          policy=server_policy.RESCUE, target="server", body=action_schemas.RESCUE, view=password_views.RESCUED, also=(501,)),
    Route("POST", "/servers/{id}/action", actions.unrescue, "End a rescue.", action="unrescue",
          success=202, policy=server_policy.UNRESCUE, target="server", body=bare("unrescue"), also=(501,)),
    Route("POST", "/servers/{id}/action", server_shelving.shelve, "Put a server on the shelf, in an image.", action="shelve",
          success=202, policy=server_policy.SHELVE, target="server", body=bare("shelve")),
    Route("POST", "/servers/{id}/action", server_shelving.offload, "Take a shelved server off its host.", action="shelveOffload",
          success=202, policy=server_policy.SHELVE_OFFLOAD, target="server", body=bare("shelveOffload")),
    Route("POST", "/servers/{id}/action", server_shelving.unshelve, "Take a server from the shelf.", action="unshelve",
          success=202, policy=server_policy.UNSHELVE, target="server", body=action_schemas.UNSHELVE),
    Route("POST", "/servers/{id}/action", actions.change_password, "Change the password inside a server.", action="changePassword",
          success=202, policy=server_policy.CHANGE_PASSWORD, target="server", body=action_schemas.CHANGE_PASSWORD, also=(501,)),
    Route("POST", "/servers/{id}/action", actions.restore, "Restore a deleted server.", action="restore",
          success=202, policy=server_policy.RESTORE, target="server", body=bare("restore")),
    Route("POST", "/servers/{id}/action", actions.trigger_crash_dump, "Let a server dump its memory.", action="trigger_crash_dump",
          since=V.CRASH_DUMP, success=202, policy=server_policy.CRASH_DUMP, target="server", body=action_schemas.CRASH_DUMP),
    Route("POST", "/servers/{id}/action", server_networking.add_security_group, "Put a server into a security group.",
          action="addSecurityGroup", success=202, policy=server_policy.ADD_SECURITY_GROUP, target="server",
          body=action_schemas.ADD_GROUP),
    Route("POST", "/servers/{id}/action", server_networking.remove_security_group, "Take a server out of a security group.",
          action="removeSecurityGroup", success=202, policy=server_policy.REMOVE_SECURITY_GROUP, target="server",
          body=action_schemas.REMOVE_GROUP),
    Route("POST", "/servers/{id}/action", server_networking.add_fixed_ip, "Add an address to a server.", action="addFixedIp",
          until=V.NO_MULTINIC - 1, success=202, policy=server_policy.ADD_FIXED_IP, target="server", body=action_schemas.ADD_FIXED_IP),
    Route("POST", "/servers/{id}/action", server_networking.remove_fixed_ip, "Take an address from a server.", action="removeFixedIp",
          until=V.NO_MULTINIC - 1, success=202, policy=server_policy.REMOVE_FIXED_IP, target="server",
          body=action_schemas.REMOVE_FIXED_IP),
    Route("POST", "/servers/{id}/action", floating_ips.add_to_server, "Associate a floating IP.", action="addFloatingIp",
          until=V.NO_MULTINIC - 1, success=202, policy=server_policy.ADD_FLOATING_IP, target="server",
          body=action_schemas.ADD_FLOATING_IP),
    Route("POST", "/servers/{id}/action", floating_ips.remove_from_server, "Disassociate a floating IP.",
          action="removeFloatingIp", until=V.NO_MULTINIC - 1, success=202, policy=server_policy.REMOVE_FLOATING_IP, target="server",
          body=action_schemas.REMOVE_FLOATING_IP),
    Route("POST", "/servers/{id}/action", server_networking.inject_network_info, "Let the host plug a server's ports anew.",
          action="injectNetworkInfo", success=202, policy=server_policy.INJECT_NETWORK_INFO, target="server",
          body=bare("injectNetworkInfo")),
    Route("POST", "/servers/{id}/action", server_consoles.old, "Open a VNC console.", action="os-getVNCConsole",
          until=V.REMOTE_CONSOLES - 1, policy=server_policy.REMOTE_CONSOLES, target="server", body=action_schemas.VNC_CONSOLE,
          view=console_views.OLD, also=(501,)),
    Route("POST", "/servers/{id}/action", server_consoles.old, "Open a SPICE console.", action="os-getSPICEConsole",
          until=V.REMOTE_CONSOLES - 1, policy=server_policy.REMOTE_CONSOLES, target="server", body=action_schemas.SPICE_CONSOLE,
          view=console_views.OLD, also=(501,)),
    Route("POST", "/servers/{id}/action", server_consoles.rdp, "Open an RDP console.", action="os-getRDPConsole",
          until=V.REMOTE_CONSOLES - 1, useless=True, body=action_schemas.RDP_CONSOLE),
    Route("POST", "/servers/{id}/action", server_consoles.old, "Open a serial console.", action="os-getSerialConsole",
          until=V.REMOTE_CONSOLES - 1, policy=server_policy.REMOTE_CONSOLES, target="server", body=action_schemas.SERIAL_CONSOLE,
          view=console_views.OLD, also=(501,)),

    # What a console's token stands for
    Route("GET", "/os-console-auth-tokens/{id}", server_consoles.token, "Show where the console of a token is.",
          policy=console_policy.SHOW, query=action_schemas.CONSOLE_TOKEN, view=console_views.TOKEN),

    # Key pairs
    Route("GET", "/os-keypairs", keypairs.index, "List key pairs.",
          policy=keypair_policy.INDEX, target="later", query=keypair_schemas.LIST, view=keypair_views.LIST),
    Route("POST", "/os-keypairs", keypairs.create, "Import or create a key pair.", success={V.BASE: 200, V.KEYPAIR_TYPES: 201},
          policy=keypair_policy.CREATE, target="later", body=keypair_schemas.CREATE, view=keypair_views.CREATE, also=(409,)),
    Route("GET", "/os-keypairs/{id}", keypairs.show, "Show a key pair.",
          policy=keypair_policy.SHOW, target="later", query=keypair_schemas.SHOW, view=keypair_views.SHOW),
    Route("DELETE", "/os-keypairs/{id}", keypairs.delete, "Delete a key pair.", success={V.BASE: 202, V.KEYPAIR_TYPES: 204},
          policy=keypair_policy.DELETE, target="later", query=keypair_schemas.SHOW),

    # Limits
    Route("GET", "/os-quota-sets/{id}", quota_sets.show, "Show the limits of a project, or of one of its users.",
          policy=quota_policy.SHOW, target="later", query=quota_schemas.SHOW, view=quota_views.SHOW),
    Route("GET", "/os-quota-sets/{id}/detail", quota_sets.detail, "Show limits, and what is used of them.",
          policy=quota_policy.DETAIL, target="later", query=quota_schemas.SHOW, view=quota_views.DETAIL),
    Route("GET", "/os-quota-sets/{id}/defaults", quota_sets.defaults, "Show the limits that hold where none are set.",
          policy=quota_policy.DEFAULTS, target="later", query=quota_schemas.DEFAULTS, view=quota_views.SHOW),
    Route("PUT", "/os-quota-sets/{id}", quota_sets.update, "Set limits of a project, or of one of its users.",
          policy=quota_policy.UPDATE, target="later", body=quota_schemas.UPDATE, query=quota_schemas.SHOW, view=quota_views.UPDATED),
    Route("DELETE", "/os-quota-sets/{id}", quota_sets.delete, "Return to the default limits.", success=202,
          policy=quota_policy.DELETE, target="later", query=quota_schemas.SHOW),
    Route("GET", "/os-quota-class-sets/{id}", quota_class_sets.show, "Show the limits of a class.",
          policy=quota_class_policy.SHOW, view=quota_views.SHOW_CLASS),
    Route("PUT", "/os-quota-class-sets/{id}", quota_class_sets.update, "Set the limits of a class.",
          policy=quota_class_policy.UPDATE, body=quota_schemas.UPDATE_CLASS, view=quota_views.UPDATED_CLASS),
    Route("GET", "/limits", limits.show, "Show all limits of a project.",
          policy=limit_policy.SHOW, query=limit_schemas.SHOW, view=limit_views.SHOW),

    Route("GET", "/os-simple-tenant-usage", usage.index, "List what projects used in a time.",
          policy=usage_policy.LIST, query=usage_schemas.LIST, view=usage_views.LIST),
    Route("GET", "/os-simple-tenant-usage/{id}", usage.show, "Show what a project used in a time.",
          policy=usage_policy.SHOW, target="later", query=usage_schemas.SHOW, view=usage_views.SHOW),
    Route("GET", "/os-instance_usage_audit_log", usage_audits.index, "Show whether usage was audited for the last period.",
          policy=audit_policy.LIST, view=audit_views.LIST),
    Route("GET", "/os-instance_usage_audit_log/{id}", usage_audits.show, "Show whether usage was audited for a period.",
          policy=audit_policy.SHOW, view=audit_views.SHOW),

    # Moves, and what other services tell
    Route("GET", "/os-migrations", migrations.index, "List moves of servers.",
          policy=migration_policy.INDEX, query=migration_schemas.LIST, view=migration_views.LIST),
    Route("GET", "/servers/{server_id}/migrations", server_migrations.index, "List the live migrations of a server that are under way.",
          since=V.SERVER_MIGRATIONS, policy=server_migration_policy.INDEX, target="server", view=migration_views.OF_SERVER),
    Route("GET", "/servers/{server_id}/migrations/{id}", server_migrations.show, "Show a live migration that is under way.",
          since=V.SERVER_MIGRATIONS, policy=server_migration_policy.SHOW, target="server", view=migration_views.SHOW),
    Route("DELETE", "/servers/{server_id}/migrations/{id}", server_migrations.abort, "Abort a live migration.", success=202,
          since=V.ABORT_MIGRATION, policy=server_migration_policy.DELETE, target="server"),
    Route("POST", "/servers/{server_id}/migrations/{id}/action", server_migrations.force_complete, "Let a live migration end now.",
          action="force_complete", since=V.FORCE_COMPLETE, success=202, policy=server_migration_policy.FORCE_COMPLETE, target="server",
          body=migration_schemas.FORCE_COMPLETE),
    Route("POST", "/os-server-external-events", external_events.create, "Tell of what happened to servers outside.",
          policy=event_policy.CREATE, body=event_schemas.CREATE, view=event_views.CREATE, also=(207,)),

    # Where servers run
    Route("GET", "/os-availability-zone", availability_zones.index, "List availability zones.",
          policy=zone_policy.LIST, view=zone_views.LIST),
    Route("GET", "/os-availability-zone/detail", availability_zones.detail, "List availability zones with their hosts.",
          policy=zone_policy.DETAIL, view=zone_views.LIST),
    Route("GET", "/os-aggregates", aggregates.index, "List host aggregates.",
          policy=aggregate_policy.INDEX, view=aggregate_views.LIST),
    Route("POST", "/os-aggregates", aggregates.create, "Create a host aggregate.",
          policy=aggregate_policy.CREATE, body=aggregate_schemas.CREATE, view=aggregate_views.CREATE, also=(409,)),
    Route("GET", "/os-aggregates/{id}", aggregates.show, "Show a host aggregate.",
          policy=aggregate_policy.SHOW, view=aggregate_views.SHOW),
    Route("PUT", "/os-aggregates/{id}", aggregates.update, "Change the name or the zone of a host aggregate.",
          policy=aggregate_policy.UPDATE, body=aggregate_schemas.UPDATE, view=aggregate_views.SHOW, also=(409,)),
    Route("DELETE", "/os-aggregates/{id}", aggregates.delete, "Delete a host aggregate.", policy=aggregate_policy.DELETE, also=(409,)),
    Route("POST", "/os-aggregates/{id}/action", aggregates.add_host, "Add a host to an aggregate.", action="add_host",
          policy=aggregate_policy.ADD_HOST, body=aggregate_schemas.ADD_HOST, view=aggregate_views.SHOW, also=(409,)),
    Route("POST", "/os-aggregates/{id}/action", aggregates.remove_host, "Take a host out of an aggregate.", action="remove_host",
          policy=aggregate_policy.REMOVE_HOST, body=aggregate_schemas.REMOVE_HOST, view=aggregate_views.SHOW, also=(409,)),
    Route("POST", "/os-aggregates/{id}/action", aggregates.set_metadata, "Change the metadata of an aggregate.", action="set_metadata",
          policy=aggregate_policy.SET_METADATA, body=aggregate_schemas.SET_METADATA, view=aggregate_views.SHOW, also=(409,)),
    Route("POST", "/os-aggregates/{id}/images", aggregates.images, "Ask the hosts of an aggregate to fetch images beforehand.",
          since=V.CACHE_IMAGES, success=202, policy=aggregate_policy.IMAGES, body=aggregate_schemas.IMAGES, also=(409,)),
    Route("GET", "/os-hypervisors", hypervisors.index, "List hypervisors.",
          policy=hypervisor_policy.LIST, query=hypervisor_schemas.LIST, view=hypervisor_views.LIST, also=(404,)),
    Route("GET", "/os-hypervisors/detail", hypervisors.index, "List hypervisors with details.",
          policy=hypervisor_policy.DETAIL, query=hypervisor_schemas.LIST, view=hypervisor_views.DETAIL, also=(404,)),
    Route("GET", "/os-hypervisors/statistics", hypervisors.totals, "Sum up what hypervisors have and run.",
          until=V.NO_HYPERVISOR_COUNTERS - 1, policy=hypervisor_policy.STATISTICS, query=hypervisor_schemas.ANYTHING,
          view=hypervisor_views.STATISTICS),
    Route("GET", "/os-hypervisors/{id}", hypervisors.show, "Show a hypervisor.",
          policy=hypervisor_policy.SHOW, query=hypervisor_schemas.SHOW, view=hypervisor_views.SHOW),
    Route("GET", "/os-hypervisors/{id}/uptime", hypervisors.uptime, "Show how long a hypervisor has been up.",
          until=V.NO_HYPERVISOR_COUNTERS - 1, policy=hypervisor_policy.UPTIME, query=hypervisor_schemas.ANYTHING,
          view=hypervisor_views.UPTIME, also=(501,)),
    Route("GET", "/os-hypervisors/{id}/search", hypervisors.search, "Find hypervisors by a part of their name.",
          until=V.SERVICE_UUIDS - 1, policy=hypervisor_policy.SEARCH, query=hypervisor_schemas.ANYTHING, view=hypervisor_views.LIST),
    Route("GET", "/os-hypervisors/{id}/servers", hypervisors.servers, "List the servers of hypervisors, found by a part of their name.",
          until=V.SERVICE_UUIDS - 1, policy=hypervisor_policy.SERVERS, query=hypervisor_schemas.ANYTHING, view=hypervisor_views.LIST),
    Route("GET", "/os-hosts", hosts.index, "List hosts.",
          until=V.NO_HOSTS - 1, policy=host_policy.LIST, query=host_schemas.LIST, view=host_views.LIST),
    Route("GET", "/os-hosts/{id}", hosts.show, "Show what a host has, and what projects use of it.",
          until=V.NO_HOSTS - 1, policy=host_policy.SHOW, view=host_views.SHOW),
    Route("PUT", "/os-hosts/{id}", hosts.update, "Enable or disable a host.",
          until=V.NO_HOSTS - 1, policy=host_policy.UPDATE, body=host_schemas.UPDATE, view=host_views.UPDATED, also=(501,)),
    Route("GET", "/os-hosts/{id}/reboot", hosts.power, "Reboot a host.", until=V.NO_HOSTS - 1, policy=host_policy.REBOOT, also=(501,)),
    Route("GET", "/os-hosts/{id}/shutdown", hosts.power, "Shut a host down.", until=V.NO_HOSTS - 1, policy=host_policy.SHUTDOWN,
          also=(501,)),
    Route("GET", "/os-hosts/{id}/startup", hosts.power, "Start a host.", until=V.NO_HOSTS - 1, policy=host_policy.STARTUP, also=(501,)),
    Route("GET", "/os-baremetal-nodes", baremetal_nodes.index, "List bare-metal nodes.",
          until=V.NO_PROXIES - 1, policy=node_policy.LIST, also=(404, 501)),
    Route("POST", "/os-baremetal-nodes", baremetal_nodes.create, "Enter a bare-metal node.", until=V.NO_PROXIES - 1, useless=True),
    Route("GET", "/os-baremetal-nodes/{id}", baremetal_nodes.show, "Show a bare-metal node.",
          until=V.NO_PROXIES - 1, policy=node_policy.SHOW, also=(501,)),
    Route("DELETE", "/os-baremetal-nodes/{id}", baremetal_nodes.delete, "Forget a bare-metal node.", until=V.NO_PROXIES - 1,
          useless=True),
    Route("POST", "/os-baremetal-nodes/{id}/action", baremetal_nodes.add_interface, "Add an interface to a bare-metal node.",
          action="add_interface", until=V.NO_PROXIES - 1, useless=True),
    Route("POST", "/os-baremetal-nodes/{id}/action", baremetal_nodes.remove_interface, "Take an interface from a bare-metal node.",
          action="remove_interface", until=V.NO_PROXIES - 1, useless=True),
    Route("GET", "/os-services", services.index, "List services.",
          policy=service_policy.LIST, query=service_schemas.LIST, view=service_views.LIST),
    Route("PUT", "/os-services/enable", services.enable, "Enable a service.",
          until=V.SERVICE_UUIDS - 1, policy=service_policy.UPDATE, body=service_schemas.UPDATE_BY_NAME,
          view=service_views.UPDATED_BY_NAME, also=(404,)),
    Route("PUT", "/os-services/disable", services.disable, "Disable a service.",
          until=V.SERVICE_UUIDS - 1, policy=service_policy.UPDATE, body=service_schemas.UPDATE_BY_NAME,
          view=service_views.UPDATED_BY_NAME, also=(404,)),
    Route("PUT", "/os-services/disable-log-reason", services.disable_with_reason, "Disable a service, and say why.",
          until=V.SERVICE_UUIDS - 1, policy=service_policy.UPDATE, body=service_schemas.UPDATE_BY_NAME,
          view=service_views.UPDATED_BY_NAME, also=(404,)),
    Route("PUT", "/os-services/force-down", services.force_down, "Say that a service is down, or not.",
          since=V.SERVICE_FORCED_DOWN, until=V.SERVICE_UUIDS - 1, policy=service_policy.UPDATE, body=service_schemas.UPDATE_BY_NAME,
          view=service_views.UPDATED_BY_NAME, also=(404,)),
    Route("PUT", "/os-services/{id}", services.update, "Enable, disable or force down a service.",
          since=V.SERVICE_UUIDS, policy=service_policy.UPDATE, body=service_schemas.UPDATE, view=service_views.SHOW),
    Route("DELETE", "/os-services/{id}", services.delete, "Forget a service.", success=204, policy=service_policy.DELETE, also=(409,)),

    # Server groups
    Route("GET", "/os-server-groups", server_groups.index, "List server groups.",
          policy=group_policy.INDEX, query=group_schemas.LIST, view=group_views.LIST),
    Route("POST", "/os-server-groups", server_groups.create, "Create a server group.",
          policy=group_policy.CREATE, body=group_schemas.CREATE, view=group_views.SHOW, also=(409,)),
    Route("GET", "/os-server-groups/{id}", server_groups.show, "Show a server group.",
          policy=group_policy.SHOW, target="later", view=group_views.SHOW),
    Route("DELETE", "/os-server-groups/{id}", server_groups.delete, "Delete a server group.", success=204,
          policy=group_policy.DELETE, target="later"),

    # What hangs below a server
    Route("GET", "/servers/{server_id}/metadata", server_metadata.index, "List the metadata of a server.",
          policy=metadata_policy.INDEX, target="server", view=metadata_views.ALL),
    Route("POST", "/servers/{server_id}/metadata", server_metadata.create, "Add to the metadata of a server.",
          policy=metadata_policy.CREATE, target="server", body=metadata_schemas.ALL, view=metadata_views.ALL),
    Route("PUT", "/servers/{server_id}/metadata", server_metadata.update_all, "Replace the metadata of a server.",
          policy=metadata_policy.UPDATE_ALL, target="server", body=metadata_schemas.ALL, view=metadata_views.ALL),
    Route("GET", "/servers/{server_id}/metadata/{id}", server_metadata.show, "Show one item of a server's metadata.",
          policy=metadata_policy.SHOW, target="server", view=metadata_views.ONE),
    Route("PUT", "/servers/{server_id}/metadata/{id}", server_metadata.update, "Change one item of a server's metadata.",
          policy=metadata_policy.UPDATE, target="server", body=metadata_schemas.ONE, view=metadata_views.ONE),
    Route("DELETE", "/servers/{server_id}/metadata/{id}", server_metadata.delete, "Delete one item of a server's metadata.", success=204,
          policy=metadata_policy.DELETE, target="server"),
    Route("GET", "/servers/{server_id}/tags", server_tags.index, "List the tags of a server.",
          since=V.TAGS, policy=tag_policy.INDEX, target="server", view=tag_views.ALL),
    Route("PUT", "/servers/{server_id}/tags", server_tags.update_all, "Replace the tags of a server.",
          since=V.TAGS, policy=tag_policy.UPDATE_ALL, target="server", body=tag_schemas.ALL, view=tag_views.ALL),
    Route("DELETE", "/servers/{server_id}/tags", server_tags.delete_all, "Take all tags from a server.", success=204,
          since=V.TAGS, policy=tag_policy.DELETE_ALL, target="server"),
    Route("GET", "/servers/{server_id}/tags/{id}", server_tags.show, "Ask whether a server has a tag.", success=204,
          since=V.TAGS, policy=tag_policy.SHOW, target="server"),
    Route("PUT", "/servers/{server_id}/tags/{id}", server_tags.update, "Add a tag to a server.", success=201,
          since=V.TAGS, policy=tag_policy.UPDATE, target="server", also=(204,)),
    Route("DELETE", "/servers/{server_id}/tags/{id}", server_tags.delete, "Take a tag from a server.", success=204,
          since=V.TAGS, policy=tag_policy.DELETE, target="server"),
    Route("GET", "/servers/{server_id}/ips", server_ips.index, "List the addresses of a server.",
          policy=ip_policy.INDEX, target="server", view=ip_views.ALL),
    Route("GET", "/servers/{server_id}/ips/{id}", server_ips.show, "List the addresses of a server in one network.",
          policy=ip_policy.SHOW, target="server", view=ip_views.ONE),
    Route("GET", "/servers/{server_id}/os-interface", server_interfaces.index, "List the network interfaces of a server.",
          policy=interface_policy.LIST, target="server", view=interface_views.LIST, also=(501,)),
    Route("GET", "/servers/{server_id}/os-interface/{id}", server_interfaces.show, "Show a network interface of a server.",
          policy=interface_policy.SHOW, target="server", view=interface_views.SHOW),
    Route("POST", "/servers/{server_id}/os-interface", server_interfaces.create, "Add a network interface to a server.",
          policy=interface_policy.CREATE, target="server", body=interface_schemas.CREATE, view=interface_views.SHOW, also=(501,)),
    Route("DELETE", "/servers/{server_id}/os-interface/{id}", server_interfaces.delete, "Take a network interface from a server.",
          success=202, policy=interface_policy.DELETE, target="server", also=(501,)),
    Route("GET", "/servers/{server_id}/os-security-groups", security_groups.of_server, "List the security groups of a server.",
          policy=server_policy.LIST_SECURITY_GROUPS, target="server", view=security_group_views.LIST),
    Route("GET", "/servers/{server_id}/diagnostics", server_diagnostics.show, "Show what is known of a running server.",
          policy=server_policy.DIAGNOSTICS, target="server", view=diagnostic_views.SHOW, also=(409, 501)),
    Route("GET", "/servers/{server_id}/topology", server_topology.show, "Show the NUMA cells of a server.",
          since=V.TOPOLOGY, policy=server_policy.TOPOLOGY, target="server", view=diagnostic_views.TOPOLOGY),
    Route("GET", "/servers/{server_id}/shares", server_shares.index, "List the shares of a server.",
          since=V.SHARES, policy=share_policy.INDEX, target="server", query=share_schemas.NOTHING, view=share_views.LIST),
    Route("POST", "/servers/{server_id}/shares", server_shares.create, "Attach a share to a server.", success=201,
          since=V.SHARES, policy=share_policy.CREATE, target="server", body=share_schemas.CREATE, view=share_views.SHOW),
    Route("GET", "/servers/{server_id}/shares/{id}", server_shares.show, "Show a share of a server.",
          since=V.SHARES, policy=share_policy.SHOW, target="server", query=share_schemas.NOTHING, view=share_views.SHOW),
    Route("DELETE", "/servers/{server_id}/shares/{id}", server_shares.delete, "Detach a share from a server.",
          since=V.SHARES, policy=share_policy.DELETE, target="server"),
    Route("POST", "/servers/{server_id}/remote-consoles", server_consoles.create, "Open a remote console.",
          since=V.REMOTE_CONSOLES, policy=server_policy.REMOTE_CONSOLES, target="server", body=action_schemas.REMOTE_CONSOLE,
          view=console_views.CREATED, also=(501,)),
    Route("GET", "/servers/{server_id}/os-volume_attachments", server_volumes.index, "List the volumes of a server.",
          policy=volume_policy.LIST, target="server", query=volume_schemas.LIST, view=volume_views.LIST),
    Route("POST", "/servers/{server_id}/os-volume_attachments", server_volumes.attach, "Attach a volume.",
          success={V.BASE: 200, V.ATTACH_IN_BACKGROUND: 202}, policy=volume_policy.CREATE, target="server", body=volume_schemas.ATTACH,
          view=volume_views.ATTACHED),
    Route("GET", "/servers/{server_id}/os-volume_attachments/{id}", server_volumes.show, "Show a volume of a server.",
          policy=volume_policy.SHOW, target="server", query=volume_schemas.SHOW, view=volume_views.SHOW),
    Route("PUT", "/servers/{server_id}/os-volume_attachments/{id}", server_volumes.update, "Change or swap a volume of a server.",
          success=202, policy=volume_policy.UPDATE, target="later", body=volume_schemas.UPDATE, also=(409,)),
    Route("DELETE", "/servers/{server_id}/os-volume_attachments/{id}", server_volumes.delete, "Detach a volume.", success=202,
          policy=volume_policy.DELETE, target="server"),
    Route("GET", "/servers/{server_id}/os-server-password", server_passwords.show, "Read the password that the guest posted, encrypted.",
          policy=password_policy.SHOW, target="server", view=password_views.SHOW),
    Route("DELETE", "/servers/{server_id}/os-server-password", server_passwords.clear, "Forget the password.", success=204,
          policy=password_policy.CLEAR, target="server"),
    Route("GET", "/servers/{server_id}/os-instance-actions", instance_actions.index, "List what was done to a server.",
          policy=instance_action_policy.LIST, target="later", query=instance_action_schemas.LIST, view=instance_action_views.LIST),
    Route("GET", "/servers/{server_id}/os-instance-actions/{id}", instance_actions.show, "Show something that was done to a server.",
          policy=instance_action_policy.SHOW, target="later", view=instance_action_views.SHOW),

    Route("GET", "/servers/{server_id}/scheduling", server_scheduling.show, "Show why a server is where it is, or nowhere (not in Nova).",
          policy=scheduling_policy.SHOW, target="server", view=scheduling_views.SHOW),

    # What hangs below a flavor
    Route("POST", "/flavors/{id}/action", flavor_access.add, "Let a project use a private flavor.", action="addTenantAccess",
          policy=flavor_policy.ADD_ACCESS, body=flavor_schemas.ADD_ACCESS, view=flavor_views.ACCESS, also=(409,)),
    Route("POST", "/flavors/{id}/action", flavor_access.remove, "Keep a project from a private flavor.", action="removeTenantAccess",
          policy=flavor_policy.REMOVE_ACCESS, body=flavor_schemas.REMOVE_ACCESS, view=flavor_views.ACCESS),
    Route("GET", "/flavors/{flavor_id}/os-flavor-access", flavor_access.index, "List the projects that may use a private flavor.",
          policy=flavor_policy.ACCESS, view=flavor_views.ACCESS),
    Route("GET", "/flavors/{flavor_id}/os-extra_specs", flavor_extra_specs.index, "List the extra specs of a flavor.",
          policy=flavor_policy.EXTRA_SPECS_INDEX, view=flavor_views.EXTRA_SPECS),
    Route("POST", "/flavors/{flavor_id}/os-extra_specs", flavor_extra_specs.create, "Add extra specs to a flavor.",
          policy=flavor_policy.EXTRA_SPECS_CREATE, body=flavor_schemas.CREATE_EXTRA_SPECS, view=flavor_views.EXTRA_SPECS, also=(409,)),
    Route("GET", "/flavors/{flavor_id}/os-extra_specs/{id}", flavor_extra_specs.show, "Show an extra spec of a flavor.",
          policy=flavor_policy.EXTRA_SPECS_SHOW, view=flavor_views.EXTRA_SPEC),
    Route("PUT", "/flavors/{flavor_id}/os-extra_specs/{id}", flavor_extra_specs.update, "Change an extra spec of a flavor.",
          policy=flavor_policy.EXTRA_SPECS_UPDATE, body=flavor_schemas.UPDATE_EXTRA_SPEC, view=flavor_views.EXTRA_SPEC, also=(409,)),
    Route("DELETE", "/flavors/{flavor_id}/os-extra_specs/{id}", flavor_extra_specs.delete, "Delete an extra spec of a flavor.",
          policy=flavor_policy.EXTRA_SPECS_DELETE),

    # Proxies to the image service and to the network service
    Route("GET", "/images", images.index, "List images.", until=V.NO_PROXIES - 1, query=image_schemas.LIST, view=image_views.LIST),
    Route("GET", "/images/detail", images.index, "List images with all that is known of them.",
          until=V.NO_PROXIES - 1, query=image_schemas.LIST, view=image_views.DETAIL),
    Route("GET", "/images/{id}", images.show, "Show an image.", until=V.NO_PROXIES - 1, view=image_views.SHOW),
    Route("DELETE", "/images/{id}", images.delete, "Delete an image.", until=V.NO_PROXIES - 1, success=204),
    Route("GET", "/images/{image_id}/metadata", images.metadata, "List the properties of an image.",
          until=V.NO_IMAGE_METADATA - 1, view=metadata_views.ALL),
    Route("POST", "/images/{image_id}/metadata", images.add_metadata, "Add to the properties of an image.",
          until=V.NO_IMAGE_METADATA - 1, body=metadata_schemas.ALL, view=metadata_views.ALL),
    Route("PUT", "/images/{image_id}/metadata", images.replace_metadata, "Replace the properties of an image.",
          until=V.NO_IMAGE_METADATA - 1, body=metadata_schemas.ALL, view=metadata_views.ALL),
    Route("GET", "/images/{image_id}/metadata/{id}", images.metadata_item, "Show a property of an image.",
          until=V.NO_IMAGE_METADATA - 1, view=metadata_views.ONE),
    Route("PUT", "/images/{image_id}/metadata/{id}", images.set_metadata_item, "Change a property of an image.",
          until=V.NO_IMAGE_METADATA - 1, body=metadata_schemas.ONE, view=metadata_views.ONE),
    Route("DELETE", "/images/{image_id}/metadata/{id}", images.delete_metadata_item, "Delete a property of an image.",
          until=V.NO_IMAGE_METADATA - 1, success=204),
    Route("GET", "/os-volumes", volume_proxies.volumes, "List volumes.", until=V.NO_PROXIES - 1,
          policy=volume_proxy_policy.LIST, query=volume_schemas.PAGE, view=volume_views.VOLUMES),
    Route("POST", "/os-volumes", volume_proxies.create, "Make a volume.", until=V.NO_PROXIES - 1,
          policy=volume_proxy_policy.CREATE, body=volume_schemas.CREATE_VOLUME, view=volume_views.VOLUME, also=(404,)),
    Route("GET", "/os-volumes/detail", volume_proxies.volumes, "List volumes with details.", until=V.NO_PROXIES - 1,
          policy=volume_proxy_policy.DETAIL, query=volume_schemas.PAGE, view=volume_views.VOLUMES),
    Route("GET", "/os-volumes/{id}", volume_proxies.volume, "Show a volume.", until=V.NO_PROXIES - 1,
          policy=volume_proxy_policy.SHOW, view=volume_views.VOLUME),
    Route("DELETE", "/os-volumes/{id}", volume_proxies.delete, "Delete a volume.", until=V.NO_PROXIES - 1, success=202,
          policy=volume_proxy_policy.DELETE),
    Route("GET", "/os-snapshots", volume_proxies.snapshots, "List snapshots of volumes.", until=V.NO_PROXIES - 1,
          policy=volume_proxy_policy.SNAPSHOTS_LIST, query=volume_schemas.PAGE, view=volume_views.SNAPSHOTS),
    Route("POST", "/os-snapshots", volume_proxies.create_snapshot, "Make a snapshot of a volume.", until=V.NO_PROXIES - 1,
          policy=volume_proxy_policy.SNAPSHOTS_CREATE, body=volume_schemas.CREATE_SNAPSHOT, view=volume_views.SNAPSHOT),
    Route("GET", "/os-snapshots/detail", volume_proxies.snapshots, "List snapshots of volumes with details.", until=V.NO_PROXIES - 1,
          policy=volume_proxy_policy.SNAPSHOTS_DETAIL, query=volume_schemas.PAGE, view=volume_views.SNAPSHOTS),
    Route("GET", "/os-snapshots/{id}", volume_proxies.snapshot, "Show a snapshot of a volume.", until=V.NO_PROXIES - 1,
          policy=volume_proxy_policy.SNAPSHOTS_SHOW, view=volume_views.SNAPSHOT),
    Route("DELETE", "/os-snapshots/{id}", volume_proxies.delete_snapshot, "Delete a snapshot of a volume.", until=V.NO_PROXIES - 1,
          success=202, policy=volume_proxy_policy.SNAPSHOTS_DELETE),
    Route("POST", "/os-assisted-volume-snapshots", assisted_volume_snapshots.create, "Take part in a snapshot of a volume.",
          policy=volume_policy.SNAPSHOT_CREATE, body=volume_schemas.SNAPSHOT, view=volume_views.ASSISTED),
    Route("DELETE", "/os-assisted-volume-snapshots/{id}", assisted_volume_snapshots.delete, "Take part in deleting a snapshot of a volume.",
          success=204, policy=volume_policy.SNAPSHOT_DELETE, query=volume_schemas.DELETE_SNAPSHOT),
    Route("GET", "/os-networks", network_proxies.networks, "List networks.",
          until=V.NO_PROXIES - 1, policy=network_policy.NETWORKS_LIST, view=network_views.NETWORKS),
    Route("GET", "/os-networks/{id}", network_proxies.network, "Show a network.",
          until=V.NO_PROXIES - 1, policy=network_policy.NETWORKS_SHOW, view=network_views.NETWORK),
    Route("GET", "/os-tenant-networks", network_proxies.networks, "List the networks of a project.",
          until=V.NO_PROXIES - 1, policy=network_policy.TENANT_NETWORKS_LIST, view=network_views.TENANT_NETWORKS),
    Route("GET", "/os-tenant-networks/{id}", network_proxies.network, "Show a network of a project.",
          until=V.NO_PROXIES - 1, policy=network_policy.TENANT_NETWORKS_SHOW, view=network_views.TENANT_NETWORK),
    Route("GET", "/os-floating-ip-pools", network_proxies.pools, "List the pools of floating IPs.",
          until=V.NO_PROXIES - 1, policy=network_policy.FLOATING_IP_POOLS, view=network_views.POOLS),
    Route("GET", "/os-floating-ips", floating_ips.index, "List the floating IPs of a project.",
          until=V.NO_PROXIES - 1, policy=network_policy.FLOATING_IPS_LIST, view=floating_ip_views.LIST),
    Route("POST", "/os-floating-ips", floating_ips.create, "Take a floating IP from a pool.",
          until=V.NO_PROXIES - 1, policy=network_policy.FLOATING_IPS_CREATE, body=floating_ip_schemas.CREATE, view=floating_ip_views.SHOW,
          also=(404, 409)),
    Route("GET", "/os-floating-ips/{id}", floating_ips.show, "Show a floating IP.",
          until=V.NO_PROXIES - 1, policy=network_policy.FLOATING_IPS_SHOW, view=floating_ip_views.SHOW),
    Route("DELETE", "/os-floating-ips/{id}", floating_ips.delete, "Give a floating IP back.",
          until=V.NO_PROXIES - 1, success=202, policy=network_policy.FLOATING_IPS_DELETE, also=(409,)),
    Route("GET", "/os-security-groups", security_groups.index, "List security groups.",
          until=V.NO_PROXIES - 1, policy=network_policy.GROUPS_LIST, query=security_group_schemas.LIST, view=security_group_views.LIST,
          also=(404,)),
    Route("POST", "/os-security-groups", security_groups.create, "Create a security group.",
          until=V.NO_PROXIES - 1, policy=network_policy.GROUPS_CREATE, body=security_group_schemas.GROUP, view=security_group_views.SHOW,
          also=(409,)),
    Route("GET", "/os-security-groups/{id}", security_groups.show, "Show a security group.",
          until=V.NO_PROXIES - 1, policy=network_policy.GROUPS_SHOW, view=security_group_views.SHOW),
    Route("PUT", "/os-security-groups/{id}", security_groups.update, "Change a security group.",
          until=V.NO_PROXIES - 1, policy=network_policy.GROUPS_UPDATE, body=security_group_schemas.GROUP, view=security_group_views.SHOW,
          also=(409,)),
    Route("DELETE", "/os-security-groups/{id}", security_groups.delete, "Delete a security group.",
          until=V.NO_PROXIES - 1, success=202, policy=network_policy.GROUPS_DELETE, also=(409,)),
    Route("POST", "/os-security-group-rules", security_groups.create_rule, "Add a rule to a security group.",
          until=V.NO_PROXIES - 1, policy=network_policy.RULES_CREATE, body=security_group_schemas.RULE, view=security_group_views.RULE,
          also=(404, 409)),
    Route("DELETE", "/os-security-group-rules/{id}", security_groups.delete_rule, "Take a rule from a security group.",
          until=V.NO_PROXIES - 1, success=202, policy=network_policy.RULES_DELETE, also=(409,)),

    # Gone for good
    removed("GET", "/os-agents"),
    removed("POST", "/os-agents"),
    removed("PUT", "/os-agents/{id}"),
    removed("DELETE", "/os-agents/{id}"),
    removed("POST", "/os-cells"),
    removed("GET", "/os-cells"),
    removed("GET", "/os-cells/capacities"),
    removed("GET", "/os-cells/detail"),
    removed("GET", "/os-cells/info"),
    removed("POST", "/os-cells/sync_instances"),
    removed("GET", "/os-cells/{id}"),
    removed("PUT", "/os-cells/{id}"),
    removed("DELETE", "/os-cells/{id}"),
    removed("GET", "/os-cells/{id}/capacities"),
    removed("POST", "/os-certificates"),
    removed("GET", "/os-certificates/{id}"),
    removed("GET", "/os-cloudpipe"),
    removed("POST", "/os-cloudpipe"),
    removed("PUT", "/os-cloudpipe/{id}"),
    removed("GET", "/os-fixed-ips/{id}"),
    removed("POST", "/os-fixed-ips/{id}/action", "reserve"),
    removed("POST", "/os-fixed-ips/{id}/action", "unreserve"),
    removed("GET", "/os-floating-ip-dns"),
    removed("PUT", "/os-floating-ip-dns/{id}"),
    removed("DELETE", "/os-floating-ip-dns/{id}"),
    removed("GET", "/os-floating-ip-dns/{domain_id}/entries/{id}"),
    removed("PUT", "/os-floating-ip-dns/{domain_id}/entries/{id}"),
    removed("DELETE", "/os-floating-ip-dns/{domain_id}/entries/{id}"),
    removed("GET", "/os-floating-ips-bulk"),
    removed("POST", "/os-floating-ips-bulk"),
    removed("GET", "/os-floating-ips-bulk/{id}"),
    removed("PUT", "/os-floating-ips-bulk/{id}"),
    removed("GET", "/os-fping"),
    removed("GET", "/os-fping/{id}"),
    removed("POST", "/os-networks"),
    removed("POST", "/os-networks/add"),
    removed("DELETE", "/os-networks/{id}"),
    removed("POST", "/os-networks/{id}/action", "disassociate"),
    removed("POST", "/os-networks/{id}/action", "disassociate_host"),
    removed("POST", "/os-networks/{id}/action", "disassociate_project"),
    removed("POST", "/os-networks/{id}/action", "associate_host"),
    removed("GET", "/os-security-group-default-rules"),
    removed("POST", "/os-security-group-default-rules"),
    removed("GET", "/os-security-group-default-rules/{id}"),
    removed("DELETE", "/os-security-group-default-rules/{id}"),
    removed("POST", "/os-tenant-networks"),
    removed("DELETE", "/os-tenant-networks/{id}"),
    removed("POST", "/servers/{id}/action", "resetNetwork"),
    removed("GET", "/servers/{server_id}/consoles"),
    removed("POST", "/servers/{server_id}/consoles"),
    removed("GET", "/servers/{server_id}/consoles/{id}"),
    removed("DELETE", "/servers/{server_id}/consoles/{id}"),
    removed("GET", "/servers/{server_id}/os-virtual-interfaces"),
)

# Servers were also to be had under /os-volumes_boot, with the first of their actions.
TWICE = frozenset({"confirmResize", "createImage", "os-start", "os-stop", "reboot", "rebuild", "resize"})
TWICE |= {"revertResize", "trigger_crash_dump"}
ROUTES += tuple(
    replace(route, path=route.path.replace("/servers", "/os-volumes_boot"), until=V.NO_VOLUMES_BOOT - 1)
    for route in ROUTES
    if route.path in ("/servers", "/servers/detail", "/servers/{id}") or (route.path == "/servers/{id}/action" and route.action in TWICE)
)
