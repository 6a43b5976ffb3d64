"""The names of constraints, and what breaking one means to the caller."""

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from nova_async.errors import Conflict, Error, Forbidden, Invalid, NotFound, plain

MEANING: dict[str, tuple[type[Error], str]] = {
    "flavors_flavorid_key": (Conflict, "Flavor with this ID already exists."),
    "flavors_name_key": (Conflict, "Flavor with this name already exists."),
    "keypairs_user_name_key": (Conflict, "Key pair already exists for this user under this name."),
    "workflows_one_live_per_subject": (Conflict, "Another operation on this server is still running."),
    "images_pkey": (Conflict, "Image ID already exists."),
    "image_members_key": (Conflict, "The project is already a member of this image."),
    "addresses_key": (Conflict, "The IP address is already in use on the network."),
    "address_is_made": (Invalid, "Servers make their addresses on this subnet themselves: an address cannot be chosen."),
    "address_in_subnet": (Invalid, "The IP address is not valid for any of the network's subnets."),
    "subnet_has_addresses": (Conflict, "No more IP addresses are available on the network."),
    "port_is_free": (Conflict, "The port is still in use."),
    "port_has_network": (NotFound, "The network could not be found."),
    "ports_mac_key": (Conflict, "The MAC address is already in use on the network."),
    "ports_network_fkey": (Conflict, "There are one or more ports still in use on the network."),
    "addresses_subnet_fkey": (Conflict, "One or more ports have an IP address allocation from the subnet."),
    "port_security_groups_group_fkey": (Conflict, "The security group is in use."),
    "security_group_rules_key": (Conflict, "The security group rule already exists."),
    "networks_pkey": (Conflict, "The network exists already."),
    "networks_physical_key": (Conflict, "Another network has this physical network, or this VLAN of it, already."),
    "subnets_pool_fkey": (Conflict, "Subnets have ranges of the subnet pool."),
    "subnet_pools_one_default": (
        Invalid,
        "A default subnetpool for this IP family has already been set. Only one default may exist per IP family",
    ),
    "subnets_pkey": (Conflict, "The subnet exists already."),
    "routers_pkey": (Conflict, "The router exists already."),
    "networks_one_default": (Conflict, "Another external network is the default one already."),
    "router_ports_port_fkey": (Conflict, "The port belongs to a router."),
    "router_ports_router_fkey": (Conflict, "The router still has ports."),
    "router_ports_one_gateway": (Conflict, "The router has a gateway already."),
    "floating_ips_port_fkey": (Conflict, "The port has the address of a floating IP."),
    "floating_ips_fixed_key": (Conflict, "The fixed address has a floating IP of this network already."),
    "identity_projects_pkey": (Conflict, "Conflict occurred attempting to store domain - it already exists."),
    "identity_projects_name_key": (Conflict, "A domain or project with this name already exists."),
    "identity_projects_parent": (Forbidden, "The project has projects below it. Delete those first."),
    "identity_users_name_key": (Conflict, "A user with this name already exists in the domain."),
    "identity_groups_name_key": (Conflict, "A group with this name already exists in the domain."),
    "identity_roles_name_key": (Conflict, "A role with this name already exists."),
    "identity_application_credentials_key": (Conflict, "An application credential with this name already exists for the user."),
    "identity_user_credentials_pkey": (Conflict, "A credential with this access key exists already."),
    "identity_regions_pkey": (Conflict, "Conflict occurred attempting to store region - it already exists."),
    "identity_registered_limits_key": (Conflict, "The resource of this service and region has a registered limit already."),
    "identity_registered_limits_service": (Forbidden, "The service has registered limits. Delete those first."),
    "identity_registered_limits_region": (Forbidden, "The region has registered limits. Delete those first."),
    "identity_limits_key": (Conflict, "The project or domain has a limit of this resource already."),
    "identity_limits_registered": (Forbidden, "The registered limit has limits of projects or domains. Delete those first."),
    "volume_attachments_one": (Conflict, "The volume is attached already."),
    "volume_attachments_pair": (Conflict, "The volume is attached to this server already."),
    "volume_attachments_volume_fkey": (Conflict, "The volume is attached; detach it first."),
    "volume_snapshots_volume_fkey": (Conflict, "The volume has snapshots; delete them first."),
    "volume_types_name_key": (Conflict, "Volume type with this name already exists."),
    "volume_qos_specs_name_key": (Conflict, "QoS Specs with this name already exist."),
    "volumes_type_fkey": (Conflict, "There are volumes of this type; delete them first."),
    "instance_tags_count": (Invalid, "The number of tags exceeded the per-server limit 50."),
}


@contextmanager
def translated() -> Iterator[None]:
    """Raise our error where PostgreSQL refuses to break a constraint or to take a value; others pass as they are."""
    try:
        yield
    except asyncpg.IntegrityConstraintViolationError as error:
        if not isinstance(error, asyncpg.UniqueViolationError | asyncpg.ForeignKeyViolationError):
            error.detail = None  # it shows the whole row, secrets and all, in every log of the error
        kind, message = MEANING.get(error.constraint_name or "", (None, ""))
        if kind is not None:
            raise kind(message, detail=str(error)) from error
        if isinstance(error, asyncpg.ForeignKeyViolationError):
            raise NotFound(detail=str(error)) from error
        raise
    except asyncpg.InvalidRegularExpressionError as error:
        raise Invalid(f"A filter is no valid regular expression: {error}") from None
    except asyncpg.DataError as error:
        raise Invalid("A value is of a form or size that cannot be kept.", detail=plain(error)) from error
