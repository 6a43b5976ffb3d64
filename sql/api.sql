-- The present schema "api": the sum of sql/api/*.sql, where the reasons are.
-- Written by `python -m nova_async.db.present`; do not edit.

CREATE SEQUENCE identity_epochs AS bigint;

CREATE SEQUENCE network_vnis AS integer;

CREATE TABLE flavors (
    id           bigint GENERATED ALWAYS AS IDENTITY,
    flavorid     text NOT NULL,
    name         text NOT NULL,
    memory_mb    integer NOT NULL,
    vcpus        integer NOT NULL,
    root_gb      integer NOT NULL,
    ephemeral_gb integer NOT NULL DEFAULT 0,
    swap         integer NOT NULL DEFAULT 0,
    rxtx_factor  double precision NOT NULL DEFAULT 1,
    is_public    boolean NOT NULL DEFAULT true,
    disabled     boolean NOT NULL DEFAULT false,
    description  text,
    extra_specs  jsonb NOT NULL DEFAULT '{}'::jsonb,
    created_at   timestamp with time zone NOT NULL DEFAULT now(),
    updated_at   timestamp with time zone,
    CONSTRAINT flavors_pkey PRIMARY KEY (id),
    CONSTRAINT flavors_flavorid_key UNIQUE (flavorid),
    CONSTRAINT flavors_name_key UNIQUE (name)
);

CREATE TABLE flavor_access (
    flavor_id  bigint NOT NULL,
    project_id text NOT NULL,
    CONSTRAINT flavor_access_key PRIMARY KEY (flavor_id, project_id),
    CONSTRAINT flavor_access_flavor_id_fkey FOREIGN KEY (flavor_id) REFERENCES flavors(id) ON DELETE CASCADE
);

CREATE TABLE keypairs (
    id          bigint GENERATED ALWAYS AS IDENTITY,
    user_id     text NOT NULL,
    name        text NOT NULL,
    type        text NOT NULL,
    public_key  text NOT NULL,
    fingerprint text NOT NULL,
    created_at  timestamp with time zone NOT NULL DEFAULT now(),
    CONSTRAINT keypairs_pkey PRIMARY KEY (id),
    CONSTRAINT keypairs_user_name_key UNIQUE (user_id, name)
);

CREATE TABLE quotas (
    project_id text NOT NULL,
    user_id    text NOT NULL DEFAULT ''::text,
    resource   text NOT NULL,
    hard_limit integer NOT NULL,
    CONSTRAINT quotas_pkey PRIMARY KEY (project_id, user_id, resource)
);

CREATE TABLE identity_projects (
    id          text NOT NULL,
    domain_id   text,
    parent_id   text,
    name        text NOT NULL,
    name_key    text NOT NULL,
    description text NOT NULL DEFAULT ''::text,
    enabled     boolean NOT NULL DEFAULT true,
    is_domain   boolean NOT NULL DEFAULT false,
    tags        text[] NOT NULL DEFAULT '{}'::text[],
    options     jsonb NOT NULL DEFAULT '{}'::jsonb,
    extra       jsonb NOT NULL DEFAULT '{}'::jsonb,
    CONSTRAINT identity_projects_pkey PRIMARY KEY (id),
    CONSTRAINT identity_projects_name_key UNIQUE NULLS NOT DISTINCT (domain_id, name_key),
    CONSTRAINT identity_projects_domain CHECK (is_domain = (domain_id IS NULL)),
    CONSTRAINT identity_projects_domain_id_fkey FOREIGN KEY (domain_id) REFERENCES identity_projects(id) ON DELETE CASCADE,
    CONSTRAINT identity_projects_parent FOREIGN KEY (parent_id) REFERENCES identity_projects(id)
);
CREATE INDEX identity_projects_by_parent ON identity_projects USING btree (parent_id);

CREATE TABLE identity_users (
    id                 text NOT NULL,
    domain_id          text NOT NULL,
    name               text NOT NULL,
    name_key           text NOT NULL,
    password_hash      text,
    enabled            boolean NOT NULL DEFAULT true,
    default_project_id text,
    options            jsonb NOT NULL DEFAULT '{}'::jsonb,
    extra              jsonb NOT NULL DEFAULT '{}'::jsonb,
    CONSTRAINT identity_users_pkey PRIMARY KEY (id),
    CONSTRAINT identity_users_name_key UNIQUE (domain_id, name_key),
    CONSTRAINT identity_users_domain_id_fkey FOREIGN KEY (domain_id) REFERENCES identity_projects(id) ON DELETE CASCADE
);

CREATE TABLE identity_groups (
    id          text NOT NULL,
    domain_id   text NOT NULL,
    name        text NOT NULL,
    name_key    text NOT NULL,
    description text NOT NULL DEFAULT ''::text,
    extra       jsonb NOT NULL DEFAULT '{}'::jsonb,
    CONSTRAINT identity_groups_pkey PRIMARY KEY (id),
    CONSTRAINT identity_groups_name_key UNIQUE (domain_id, name_key),
    CONSTRAINT identity_groups_domain_id_fkey FOREIGN KEY (domain_id) REFERENCES identity_projects(id) ON DELETE CASCADE
);

CREATE TABLE identity_memberships (
    group_id text NOT NULL,
    user_id  text NOT NULL,
    CONSTRAINT identity_memberships_pkey PRIMARY KEY (group_id, user_id),
    CONSTRAINT identity_memberships_group_id_fkey FOREIGN KEY (group_id) REFERENCES identity_groups(id) ON DELETE CASCADE,
    CONSTRAINT identity_memberships_user_id_fkey FOREIGN KEY (user_id) REFERENCES identity_users(id) ON DELETE CASCADE
);
CREATE INDEX identity_memberships_by_user ON identity_memberships USING btree (user_id);

CREATE TABLE identity_roles (
    id          text NOT NULL,
    domain_id   text,
    name        text NOT NULL,
    name_key    text NOT NULL,
    description text,
    options     jsonb NOT NULL DEFAULT '{}'::jsonb,
    extra       jsonb NOT NULL DEFAULT '{}'::jsonb,
    CONSTRAINT identity_roles_pkey PRIMARY KEY (id),
    CONSTRAINT identity_roles_name_key UNIQUE NULLS NOT DISTINCT (domain_id, name_key),
    CONSTRAINT identity_roles_domain_id_fkey FOREIGN KEY (domain_id) REFERENCES identity_projects(id) ON DELETE CASCADE
);

CREATE TABLE identity_implied_roles (
    prior_id   text NOT NULL,
    implied_id text NOT NULL,
    CONSTRAINT identity_implied_roles_pkey PRIMARY KEY (prior_id, implied_id),
    CONSTRAINT identity_implied_roles_implied_id_fkey FOREIGN KEY (implied_id) REFERENCES identity_roles(id) ON DELETE CASCADE,
    CONSTRAINT identity_implied_roles_prior_id_fkey FOREIGN KEY (prior_id) REFERENCES identity_roles(id) ON DELETE CASCADE
);

CREATE TABLE identity_assignments (
    user_id    text,
    group_id   text,
    project_id text,
    domain_id  text,
    role_id    text NOT NULL,
    inherited  boolean NOT NULL DEFAULT false,
    CONSTRAINT identity_assignments_key UNIQUE NULLS NOT DISTINCT (user_id, group_id, project_id, domain_id, role_id, inherited),
    CONSTRAINT identity_assignments_actor CHECK (num_nonnulls(user_id, group_id) = 1),
    CONSTRAINT identity_assignments_target CHECK (num_nonnulls(project_id, domain_id) <= 1),
    CONSTRAINT identity_assignments_domain_id_fkey FOREIGN KEY (domain_id) REFERENCES identity_projects(id) ON DELETE CASCADE,
    CONSTRAINT identity_assignments_group_id_fkey FOREIGN KEY (group_id) REFERENCES identity_groups(id) ON DELETE CASCADE,
    CONSTRAINT identity_assignments_project_id_fkey FOREIGN KEY (project_id) REFERENCES identity_projects(id) ON DELETE CASCADE,
    CONSTRAINT identity_assignments_role_id_fkey FOREIGN KEY (role_id) REFERENCES identity_roles(id) ON DELETE CASCADE,
    CONSTRAINT identity_assignments_user_id_fkey FOREIGN KEY (user_id) REFERENCES identity_users(id) ON DELETE CASCADE
);
CREATE INDEX identity_assignments_by_group ON identity_assignments USING btree (group_id) WHERE group_id IS NOT NULL;
CREATE INDEX identity_assignments_by_project ON identity_assignments USING btree (project_id) WHERE project_id IS NOT NULL;

CREATE TABLE identity_application_credentials (
    id           text NOT NULL,
    user_id      text NOT NULL,
    project_id   text NOT NULL,
    name         text NOT NULL,
    secret_hash  text NOT NULL,
    description  text,
    roles        text[] NOT NULL,
    unrestricted boolean NOT NULL DEFAULT false,
    expires_at   timestamp with time zone,
    access_rules text[] NOT NULL DEFAULT '{}'::text[],
    CONSTRAINT identity_application_credentials_pkey PRIMARY KEY (id),
    CONSTRAINT identity_application_credentials_key UNIQUE (user_id, name),
    CONSTRAINT identity_application_credentials_project_id_fkey FOREIGN KEY (project_id) REFERENCES identity_projects(id) ON DELETE CASCADE,
    CONSTRAINT identity_application_credentials_user_id_fkey FOREIGN KEY (user_id) REFERENCES identity_users(id) ON DELETE CASCADE
);

CREATE TABLE identity_regions (
    id               text NOT NULL,
    description      text NOT NULL DEFAULT ''::text,
    parent_region_id text,
    extra            jsonb NOT NULL DEFAULT '{}'::jsonb,
    CONSTRAINT identity_regions_pkey PRIMARY KEY (id),
    CONSTRAINT identity_regions_parent FOREIGN KEY (parent_region_id) REFERENCES identity_regions(id)
);

CREATE TABLE identity_services (
    id          text NOT NULL,
    type        text NOT NULL,
    name        text NOT NULL DEFAULT ''::text,
    description text,
    enabled     boolean NOT NULL DEFAULT true,
    extra       jsonb NOT NULL DEFAULT '{}'::jsonb,
    CONSTRAINT identity_services_pkey PRIMARY KEY (id)
);

CREATE TABLE identity_endpoints (
    id         text NOT NULL,
    service_id text NOT NULL,
    region_id  text,
    interface  text NOT NULL,
    url        text NOT NULL,
    enabled    boolean NOT NULL DEFAULT true,
    extra      jsonb NOT NULL DEFAULT '{}'::jsonb,
    CONSTRAINT identity_endpoints_pkey PRIMARY KEY (id),
    CONSTRAINT identity_endpoints_interface_check CHECK (interface = ANY (ARRAY['public'::text, 'internal'::text, 'admin'::text])),
    CONSTRAINT identity_endpoints_region FOREIGN KEY (region_id) REFERENCES identity_regions(id),
    CONSTRAINT identity_endpoints_service_id_fkey FOREIGN KEY (service_id) REFERENCES identity_services(id) ON DELETE CASCADE
);

CREATE TABLE identity_keys (
    id         integer GENERATED ALWAYS AS IDENTITY,
    secret     bytea NOT NULL,
    created_at timestamp with time zone NOT NULL DEFAULT now(),
    CONSTRAINT identity_keys_pkey PRIMARY KEY (id)
);

CREATE TABLE identity_revocations (
    subject text NOT NULL,
    epoch   bigint NOT NULL,
    until   timestamp with time zone NOT NULL,
    CONSTRAINT identity_revocations_pkey PRIMARY KEY (subject)
);

CREATE TABLE images (
    id               uuid NOT NULL,
    name             text,
    status           text NOT NULL DEFAULT 'queued'::text,
    visibility       text NOT NULL DEFAULT 'shared'::text,
    owner            text NOT NULL,
    disk_format      text,
    container_format text,
    size             bigint,
    virtual_size     bigint,
    checksum         text,
    os_hash_algo     text,
    os_hash_value    text,
    min_disk         integer NOT NULL DEFAULT 0,
    min_ram          integer NOT NULL DEFAULT 0,
    protected        boolean NOT NULL DEFAULT false,
    os_hidden        boolean NOT NULL DEFAULT false,
    tags             text[] NOT NULL DEFAULT '{}'::text[],
    properties       jsonb NOT NULL DEFAULT '{}'::jsonb,
    upload_id        uuid,
    data_id          uuid,
    created_at       timestamp with time zone NOT NULL,
    updated_at       timestamp with time zone NOT NULL,
    CONSTRAINT images_pkey PRIMARY KEY (id),
    CONSTRAINT images_status_known CHECK (status = ANY (ARRAY['queued'::text, 'saving'::text, 'uploading'::text, 'active'::text, 'deactivated'::text])),
    CONSTRAINT images_usable_have_data CHECK ((status <> ALL (ARRAY['active'::text, 'deactivated'::text])) OR data_id IS NOT NULL AND upload_id IS NULL),
    CONSTRAINT images_visibility_known CHECK (visibility = ANY (ARRAY['public'::text, 'private'::text, 'shared'::text, 'community'::text]))
);
CREATE INDEX images_created ON images USING btree (created_at, id);
CREATE INDEX images_name ON images USING btree (name);
CREATE INDEX images_owner ON images USING btree (owner);
CREATE INDEX images_uploads ON images USING btree (upload_id) WHERE upload_id IS NOT NULL;

CREATE TABLE image_members (
    image_id   uuid NOT NULL,
    member     text NOT NULL,
    status     text NOT NULL DEFAULT 'pending'::text,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    CONSTRAINT image_members_key PRIMARY KEY (image_id, member),
    CONSTRAINT image_members_status_known CHECK (status = ANY (ARRAY['pending'::text, 'accepted'::text, 'rejected'::text])),
    CONSTRAINT image_members_image_id_fkey FOREIGN KEY (image_id) REFERENCES images(id) ON DELETE CASCADE
);
CREATE INDEX image_members_member ON image_members USING btree (member);

CREATE TABLE networks (
    id                    uuid NOT NULL,
    project_id            text NOT NULL,
    name                  text NOT NULL DEFAULT ''::text,
    description           text NOT NULL DEFAULT ''::text,
    shared                boolean NOT NULL DEFAULT false,
    external              boolean NOT NULL DEFAULT false,
    admin_state_up        boolean NOT NULL DEFAULT true,
    port_security_enabled boolean NOT NULL DEFAULT true,
    mtu                   integer NOT NULL,
    dns_domain            text NOT NULL DEFAULT ''::text,
    tags                  text[] NOT NULL DEFAULT '{}'::text[],
    bootstrap             boolean NOT NULL DEFAULT false,
    revision              integer NOT NULL DEFAULT 1,
    created_at            timestamp with time zone NOT NULL DEFAULT now(),
    updated_at            timestamp with time zone,
    is_default            boolean NOT NULL DEFAULT false,
    vni                   integer NOT NULL DEFAULT nextval('network_vnis'::regclass),
    apart                 boolean NOT NULL DEFAULT false,
    provider              text NOT NULL DEFAULT 'vxlan'::text,
    physical_network      text,
    vlan                  integer,
    wires                 text NOT NULL GENERATED ALWAYS AS (
CASE
    WHEN physical_network IS NULL OR external THEN ''::text
    ELSE (provider || ':'::text) || physical_network
END) STORED,
    CONSTRAINT networks_pkey PRIMARY KEY (id),
    CONSTRAINT networks_vni_key UNIQUE (vni),
    CONSTRAINT networks_mtu_check CHECK (mtu >= 68 AND mtu <= 9216),
    CONSTRAINT networks_provider_check CHECK (provider = ANY (ARRAY['vxlan'::text, 'flat'::text, 'vlan'::text]))
);
CREATE UNIQUE INDEX networks_one_bootstrap ON networks USING btree (bootstrap) WHERE bootstrap;
CREATE UNIQUE INDEX networks_one_default ON networks USING btree (is_default) WHERE is_default;
CREATE UNIQUE INDEX networks_physical_key ON networks USING btree (physical_network, COALESCE(vlan, 0)) WHERE physical_network IS NOT NULL;
CREATE INDEX networks_project ON networks USING btree (project_id);

CREATE TABLE subnets (
    id                uuid NOT NULL,
    network_id        uuid NOT NULL,
    project_id        text NOT NULL,
    name              text NOT NULL DEFAULT ''::text,
    description       text NOT NULL DEFAULT ''::text,
    cidr              cidr NOT NULL,
    gateway           inet,
    enable_dhcp       boolean NOT NULL DEFAULT true,
    dns_servers       text[] NOT NULL DEFAULT '{}'::text[],
    host_routes       jsonb NOT NULL DEFAULT '[]'::jsonb,
    pools             jsonb NOT NULL,
    tags              text[] NOT NULL DEFAULT '{}'::text[],
    revision          integer NOT NULL DEFAULT 1,
    created_at        timestamp with time zone NOT NULL DEFAULT now(),
    updated_at        timestamp with time zone,
    ipv6_ra_mode      text,
    ipv6_address_mode text,
    subnet_pool       uuid,
    CONSTRAINT subnets_pkey PRIMARY KEY (id),
    CONSTRAINT subnets_check CHECK (gateway IS NULL OR gateway << cidr::inet),
    CONSTRAINT subnets_ipv6_address_mode_check CHECK (ipv6_address_mode = ANY (ARRAY['slaac'::text, 'dhcpv6-stateful'::text, 'dhcpv6-stateless'::text])),
    CONSTRAINT subnets_ipv6_ra_mode_check CHECK (ipv6_ra_mode = ANY (ARRAY['slaac'::text, 'dhcpv6-stateful'::text, 'dhcpv6-stateless'::text])),
    CONSTRAINT subnets_network_id_fkey FOREIGN KEY (network_id) REFERENCES networks(id) ON DELETE CASCADE
);
CREATE INDEX subnets_network ON subnets USING btree (network_id);
CREATE INDEX subnets_pool ON subnets USING btree (subnet_pool) WHERE subnet_pool IS NOT NULL;

CREATE TABLE security_groups (
    id          uuid NOT NULL,
    project_id  text NOT NULL,
    name        text NOT NULL,
    description text NOT NULL DEFAULT ''::text,
    stateful    boolean NOT NULL DEFAULT true,
    is_default  boolean NOT NULL DEFAULT false,
    tags        text[] NOT NULL DEFAULT '{}'::text[],
    revision    integer NOT NULL DEFAULT 1,
    created_at  timestamp with time zone NOT NULL DEFAULT now(),
    updated_at  timestamp with time zone,
    CONSTRAINT security_groups_pkey PRIMARY KEY (id)
);
CREATE UNIQUE INDEX security_groups_one_default ON security_groups USING btree (project_id) WHERE is_default;
CREATE INDEX security_groups_project ON security_groups USING btree (project_id);

CREATE TABLE security_group_rules (
    id                uuid NOT NULL,
    security_group_id uuid NOT NULL,
    project_id        text NOT NULL,
    direction         text NOT NULL,
    ethertype         text NOT NULL,
    protocol          text,
    port_range_min    integer,
    port_range_max    integer,
    remote_ip_prefix  cidr,
    remote_group_id   uuid,
    description       text NOT NULL DEFAULT ''::text,
    revision          integer NOT NULL DEFAULT 0,
    created_at        timestamp with time zone NOT NULL DEFAULT now(),
    remote_ip_given   text,
    CONSTRAINT security_group_rules_pkey PRIMARY KEY (id),
    CONSTRAINT security_group_rules_key UNIQUE NULLS NOT DISTINCT (security_group_id, direction, ethertype, protocol, port_range_min, port_range_max, remote_ip_prefix, remote_group_id),
    CONSTRAINT security_group_rules_direction_check CHECK (direction = ANY (ARRAY['ingress'::text, 'egress'::text])),
    CONSTRAINT security_group_rules_ethertype_check CHECK (ethertype = ANY (ARRAY['IPv4'::text, 'IPv6'::text])),
    CONSTRAINT security_group_rules_remote_group_fkey FOREIGN KEY (remote_group_id) REFERENCES security_groups(id) ON DELETE CASCADE,
    CONSTRAINT security_group_rules_security_group_id_fkey FOREIGN KEY (security_group_id) REFERENCES security_groups(id) ON DELETE CASCADE
);
CREATE INDEX security_group_rules_remote ON security_group_rules USING btree (remote_group_id) WHERE remote_group_id IS NOT NULL;

CREATE TABLE ports (
    id                    uuid NOT NULL,
    network_id            uuid NOT NULL,
    project_id            text NOT NULL,
    name                  text NOT NULL DEFAULT ''::text,
    description           text NOT NULL DEFAULT ''::text,
    admin_state_up        boolean NOT NULL DEFAULT true,
    port_security_enabled boolean NOT NULL DEFAULT true,
    mac                   text NOT NULL,
    device_id             text NOT NULL DEFAULT ''::text,
    bound_to              text NOT NULL DEFAULT ''::text,
    device_owner          text NOT NULL DEFAULT ''::text,
    host                  text NOT NULL DEFAULT ''::text,
    position              integer NOT NULL DEFAULT 0,
    made_for              text,
    tag                   text,
    dns_name              text NOT NULL DEFAULT ''::text,
    allowed_address_pairs jsonb NOT NULL DEFAULT '[]'::jsonb,
    profile               jsonb NOT NULL DEFAULT '{}'::jsonb,
    tags                  text[] NOT NULL DEFAULT '{}'::text[],
    revision              integer NOT NULL DEFAULT 1,
    created_at            timestamp with time zone NOT NULL DEFAULT now(),
    updated_at            timestamp with time zone,
    CONSTRAINT ports_pkey PRIMARY KEY (id),
    CONSTRAINT ports_mac_key UNIQUE (network_id, mac),
    CONSTRAINT ports_network_fkey FOREIGN KEY (network_id) REFERENCES networks(id)
);
CREATE INDEX ports_bound ON ports USING btree (bound_to);
CREATE INDEX ports_device ON ports USING btree (device_id);
CREATE UNIQUE INDEX ports_made_once ON ports USING btree (made_for, "position") WHERE made_for IS NOT NULL;
CREATE INDEX ports_of_hosts ON ports USING btree (network_id, host) WHERE host <> ''::text;
CREATE INDEX ports_project ON ports USING btree (project_id);

CREATE TABLE addresses (
    subnet_id uuid NOT NULL,
    address   inet NOT NULL,
    port_id   uuid NOT NULL,
    CONSTRAINT addresses_key PRIMARY KEY (subnet_id, address),
    CONSTRAINT addresses_port_id_fkey FOREIGN KEY (port_id) REFERENCES ports(id) ON DELETE CASCADE,
    CONSTRAINT addresses_subnet_fkey FOREIGN KEY (subnet_id) REFERENCES subnets(id)
);
CREATE INDEX addresses_port ON addresses USING btree (port_id);

CREATE TABLE port_security_groups (
    port_id           uuid NOT NULL,
    security_group_id uuid NOT NULL,
    CONSTRAINT port_security_groups_pkey PRIMARY KEY (port_id, security_group_id),
    CONSTRAINT port_security_groups_group_fkey FOREIGN KEY (security_group_id) REFERENCES security_groups(id),
    CONSTRAINT port_security_groups_port_id_fkey FOREIGN KEY (port_id) REFERENCES ports(id) ON DELETE CASCADE
);
CREATE INDEX port_security_groups_group ON port_security_groups USING btree (security_group_id);

CREATE TABLE aggregates (
    id         bigint GENERATED ALWAYS AS IDENTITY,
    uuid       uuid NOT NULL,
    name       text NOT NULL,
    metadata   jsonb NOT NULL DEFAULT '{}'::jsonb,
    created_at timestamp with time zone NOT NULL DEFAULT now(),
    updated_at timestamp with time zone,
    CONSTRAINT aggregates_pkey PRIMARY KEY (id),
    CONSTRAINT aggregates_name_key UNIQUE (name)
);

CREATE TABLE aggregate_hosts (
    aggregate_id bigint NOT NULL,
    host         text NOT NULL,
    CONSTRAINT aggregate_hosts_key PRIMARY KEY (aggregate_id, host),
    CONSTRAINT aggregate_hosts_aggregate_id_fkey FOREIGN KEY (aggregate_id) REFERENCES aggregates(id) ON DELETE CASCADE
);
CREATE INDEX aggregate_hosts_by_host ON aggregate_hosts USING btree (host);

CREATE TABLE server_groups (
    number              bigint GENERATED ALWAYS AS IDENTITY,
    id                  uuid NOT NULL,
    project_id          text NOT NULL,
    user_id             text NOT NULL,
    name                text NOT NULL,
    policy              text NOT NULL,
    max_server_per_host integer,
    created_at          timestamp with time zone NOT NULL DEFAULT now(),
    CONSTRAINT server_groups_pkey PRIMARY KEY (id),
    CONSTRAINT server_groups_policy CHECK (policy = ANY (ARRAY['affinity'::text, 'anti-affinity'::text, 'soft-affinity'::text, 'soft-anti-affinity'::text]))
);
CREATE INDEX server_groups_by_project ON server_groups USING btree (project_id, number);

CREATE TABLE server_group_members (
    instance_id uuid NOT NULL,
    group_id    uuid NOT NULL,
    number      bigint GENERATED ALWAYS AS IDENTITY,
    CONSTRAINT server_group_members_pkey PRIMARY KEY (instance_id),
    CONSTRAINT server_group_members_group_fkey FOREIGN KEY (group_id) REFERENCES server_groups(id) ON DELETE CASCADE
);
CREATE INDEX server_group_members_by_group ON server_group_members USING btree (group_id, number);

CREATE TABLE volume_types (
    id           uuid NOT NULL,
    name         text NOT NULL,
    description  text,
    is_public    boolean NOT NULL DEFAULT true,
    is_default   boolean NOT NULL DEFAULT false,
    extra_specs  jsonb NOT NULL DEFAULT '{}'::jsonb,
    projects     text[] NOT NULL DEFAULT '{}'::text[],
    created_at   timestamp with time zone NOT NULL DEFAULT now(),
    updated_at   timestamp with time zone,
    qos_specs_id uuid,
    CONSTRAINT volume_types_pkey PRIMARY KEY (id),
    CONSTRAINT volume_types_name_key UNIQUE (name)
);
CREATE UNIQUE INDEX volume_types_default ON volume_types USING btree (is_default) WHERE is_default;

CREATE TABLE volumes (
    id                uuid NOT NULL,
    project_id        text NOT NULL,
    user_id           text NOT NULL,
    name              text,
    description       text,
    size              integer NOT NULL,
    status            text NOT NULL,
    status_before     text,
    availability_zone text NOT NULL,
    type_id           uuid NOT NULL,
    bootable          boolean NOT NULL DEFAULT false,
    multiattach       boolean NOT NULL DEFAULT false,
    read_only         boolean,
    metadata          jsonb NOT NULL DEFAULT '{}'::jsonb,
    image_metadata    jsonb NOT NULL DEFAULT '{}'::jsonb,
    snapshot_id       uuid,
    source_volume_id  uuid,
    created_at        timestamp with time zone NOT NULL DEFAULT now(),
    updated_at        timestamp with time zone,
    sealed_key        bytea,
    CONSTRAINT volumes_pkey PRIMARY KEY (id),
    CONSTRAINT volumes_size_positive CHECK (size > 0),
    CONSTRAINT volumes_type_fkey FOREIGN KEY (type_id) REFERENCES volume_types(id)
);
CREATE INDEX volumes_by_project ON volumes USING btree (project_id, created_at DESC, id);

CREATE TABLE volume_snapshots (
    id          uuid NOT NULL,
    volume_id   uuid NOT NULL,
    project_id  text NOT NULL,
    user_id     text NOT NULL,
    name        text,
    description text,
    size        integer NOT NULL,
    status      text NOT NULL,
    metadata    jsonb NOT NULL DEFAULT '{}'::jsonb,
    created_at  timestamp with time zone NOT NULL DEFAULT now(),
    updated_at  timestamp with time zone,
    progress    text,
    CONSTRAINT volume_snapshots_pkey PRIMARY KEY (id),
    CONSTRAINT volume_snapshots_volume_fkey FOREIGN KEY (volume_id) REFERENCES volumes(id)
);
CREATE INDEX volume_snapshots_by_project ON volume_snapshots USING btree (project_id, created_at DESC, id);
CREATE INDEX volume_snapshots_by_volume ON volume_snapshots USING btree (volume_id);

CREATE TABLE volume_attachments (
    id          uuid NOT NULL,
    volume_id   uuid NOT NULL,
    instance_id uuid,
    shared      boolean NOT NULL,
    status      text NOT NULL,
    mode        text NOT NULL DEFAULT 'rw'::text,
    connector   jsonb,
    mountpoint  text,
    secret      text,
    attached_at timestamp with time zone,
    created_at  timestamp with time zone NOT NULL DEFAULT now(),
    moving      boolean NOT NULL DEFAULT false,
    CONSTRAINT volume_attachments_pkey PRIMARY KEY (id),
    CONSTRAINT volume_attachments_volume_fkey FOREIGN KEY (volume_id) REFERENCES volumes(id)
);
CREATE INDEX volume_attachments_by_instance ON volume_attachments USING btree (instance_id);
CREATE UNIQUE INDEX volume_attachments_one ON volume_attachments USING btree (volume_id) WHERE NOT shared AND NOT moving;
CREATE UNIQUE INDEX volume_attachments_pair ON volume_attachments USING btree (volume_id, instance_id, moving);

CREATE TABLE volume_jobs (
    id          uuid NOT NULL,
    volume_id   uuid NOT NULL,
    snapshot_id uuid,
    kind        text NOT NULL,
    input       jsonb NOT NULL DEFAULT '{}'::jsonb,
    context     jsonb NOT NULL,
    tries       integer NOT NULL DEFAULT 0,
    owner       text,
    until       timestamp with time zone NOT NULL DEFAULT now(),
    created_at  timestamp with time zone NOT NULL DEFAULT now(),
    CONSTRAINT volume_jobs_pkey PRIMARY KEY (id),
    CONSTRAINT volume_jobs_snapshot_id_fkey FOREIGN KEY (snapshot_id) REFERENCES volume_snapshots(id) ON DELETE CASCADE,
    CONSTRAINT volume_jobs_volume_id_fkey FOREIGN KEY (volume_id) REFERENCES volumes(id) ON DELETE CASCADE
);
CREATE INDEX volume_jobs_by_time ON volume_jobs USING btree (until);

CREATE TABLE volume_quotas (
    project_id text NOT NULL,
    resource   text NOT NULL,
    hard_limit integer NOT NULL,
    CONSTRAINT volume_quotas_pkey PRIMARY KEY (project_id, resource)
);

CREATE TABLE volume_messages (
    id            uuid NOT NULL,
    project_id    text NOT NULL,
    request_id    text NOT NULL,
    resource_type text NOT NULL,
    resource_id   uuid NOT NULL,
    event         text NOT NULL,
    message       text NOT NULL,
    created_at    timestamp with time zone NOT NULL DEFAULT now(),
    CONSTRAINT volume_messages_pkey PRIMARY KEY (id)
);
CREATE INDEX volume_messages_by_project ON volume_messages USING btree (project_id, created_at DESC, id);

CREATE TABLE routers (
    id             uuid NOT NULL,
    project_id     text NOT NULL,
    name           text NOT NULL DEFAULT ''::text,
    description    text NOT NULL DEFAULT ''::text,
    admin_state_up boolean NOT NULL DEFAULT true,
    enable_snat    boolean NOT NULL DEFAULT true,
    routes         jsonb NOT NULL DEFAULT '[]'::jsonb,
    host           text NOT NULL DEFAULT ''::text,
    tags           text[] NOT NULL DEFAULT '{}'::text[],
    bootstrap      boolean NOT NULL DEFAULT false,
    revision       integer NOT NULL DEFAULT 1,
    created_at     timestamp with time zone NOT NULL DEFAULT now(),
    updated_at     timestamp with time zone,
    CONSTRAINT routers_pkey PRIMARY KEY (id)
);
CREATE INDEX routers_project ON routers USING btree (project_id);

CREATE TABLE router_ports (
    port_id    uuid NOT NULL,
    router_id  uuid,
    network_id uuid NOT NULL,
    kind       text NOT NULL,
    CONSTRAINT router_ports_pkey PRIMARY KEY (port_id),
    CONSTRAINT router_ports_kind_check CHECK (kind = ANY (ARRAY['interface'::text, 'gateway'::text, 'host'::text])),
    CONSTRAINT router_ports_without_router CHECK (router_id IS NOT NULL OR kind = 'host'::text),
    CONSTRAINT router_ports_port_fkey FOREIGN KEY (port_id) REFERENCES ports(id),
    CONSTRAINT router_ports_router_fkey FOREIGN KEY (router_id) REFERENCES routers(id)
);
CREATE INDEX router_ports_host ON router_ports USING btree (network_id) WHERE kind = 'host'::text;
CREATE UNIQUE INDEX router_ports_one_gateway ON router_ports USING btree (router_id) WHERE kind = 'gateway'::text;
CREATE INDEX router_ports_router ON router_ports USING btree (router_id);

CREATE TABLE floating_ips (
    id            uuid NOT NULL,
    project_id    text NOT NULL,
    network_id    uuid NOT NULL,
    port_id       uuid NOT NULL,
    router_id     uuid,
    fixed_subnet  uuid,
    fixed_address inet,
    plugged       boolean NOT NULL DEFAULT false,
    description   text NOT NULL DEFAULT ''::text,
    tags          text[] NOT NULL DEFAULT '{}'::text[],
    revision      integer NOT NULL DEFAULT 1,
    created_at    timestamp with time zone NOT NULL DEFAULT now(),
    updated_at    timestamp with time zone,
    CONSTRAINT floating_ips_pkey PRIMARY KEY (id),
    CONSTRAINT floating_ips_fixed_key UNIQUE (network_id, fixed_subnet, fixed_address),
    CONSTRAINT floating_ips_fixed_subnet_fixed_address_fkey FOREIGN KEY (fixed_subnet, fixed_address) REFERENCES addresses(subnet_id, address) ON DELETE SET NULL,
    CONSTRAINT floating_ips_port_fkey FOREIGN KEY (port_id) REFERENCES ports(id),
    CONSTRAINT floating_ips_router_id_fkey FOREIGN KEY (router_id) REFERENCES routers(id) ON DELETE SET NULL
);
CREATE INDEX floating_ips_fixed ON floating_ips USING btree (fixed_subnet, fixed_address);
CREATE INDEX floating_ips_port ON floating_ips USING btree (port_id);
CREATE INDEX floating_ips_project ON floating_ips USING btree (project_id);
CREATE INDEX floating_ips_router ON floating_ips USING btree (router_id);

CREATE TABLE certificates (
    serial       text NOT NULL,
    party        text NOT NULL,
    alternatives text[] NOT NULL,
    issued_at    timestamp with time zone NOT NULL,
    expires_at   timestamp with time zone NOT NULL,
    revoked_at   timestamp with time zone,
    CONSTRAINT certificates_pkey PRIMARY KEY (serial)
);
CREATE INDEX certificates_by_party ON certificates USING btree (party);
CREATE INDEX certificates_revoked ON certificates USING btree (revoked_at) WHERE revoked_at IS NOT NULL;

CREATE TABLE join_tokens (
    id           text NOT NULL,
    host         text NOT NULL,
    alternatives text[] NOT NULL,
    public_key   bytea NOT NULL,
    expires_at   timestamp with time zone NOT NULL,
    CONSTRAINT join_tokens_pkey PRIMARY KEY (id)
);

CREATE TABLE volume_exports (
    attachment_id uuid NOT NULL,
    exporter      text NOT NULL,
    address       text NOT NULL,
    port          integer NOT NULL,
    peer          text NOT NULL,
    party         text,
    size          integer NOT NULL,
    protocol      text NOT NULL DEFAULT 'nbd'::text,
    CONSTRAINT volume_exports_pkey PRIMARY KEY (attachment_id),
    CONSTRAINT volume_exports_port UNIQUE (exporter, port),
    CONSTRAINT volume_exports_protocol CHECK (protocol = ANY (ARRAY['nbd'::text, 'iscsi'::text])),
    CONSTRAINT volume_exports_attachment_id_fkey FOREIGN KEY (attachment_id) REFERENCES volume_attachments(id) ON DELETE CASCADE
);

CREATE TABLE volume_qos_specs (
    id         uuid NOT NULL,
    name       text NOT NULL,
    consumer   text NOT NULL,
    specs      jsonb NOT NULL DEFAULT '{}'::jsonb,
    created_at timestamp with time zone NOT NULL DEFAULT now(),
    CONSTRAINT volume_qos_specs_pkey PRIMARY KEY (id),
    CONSTRAINT volume_qos_specs_name_key UNIQUE (name)
);

CREATE TABLE identity_access_rules (
    id      text NOT NULL,
    user_id text NOT NULL,
    service text NOT NULL,
    method  text NOT NULL,
    path    text NOT NULL,
    CONSTRAINT identity_access_rules_pkey PRIMARY KEY (id),
    CONSTRAINT identity_access_rules_key UNIQUE (user_id, service, method, path),
    CONSTRAINT identity_access_rules_user_id_fkey FOREIGN KEY (user_id) REFERENCES identity_users(id) ON DELETE CASCADE
);

CREATE TABLE volume_type_encryptions (
    type_id          uuid NOT NULL,
    id               uuid NOT NULL,
    provider         text NOT NULL,
    control_location text NOT NULL,
    cipher           text,
    key_size         integer,
    created_at       timestamp with time zone NOT NULL DEFAULT now(),
    updated_at       timestamp with time zone,
    CONSTRAINT volume_type_encryptions_pkey PRIMARY KEY (type_id),
    CONSTRAINT volume_type_encryptions_type_id_fkey FOREIGN KEY (type_id) REFERENCES volume_types(id) ON DELETE CASCADE
);

CREATE TABLE volume_transfers (
    id           uuid NOT NULL,
    volume_id    uuid NOT NULL,
    name         text,
    key_digest   bytea NOT NULL,
    no_snapshots boolean NOT NULL,
    created_at   timestamp with time zone NOT NULL DEFAULT now(),
    CONSTRAINT volume_transfers_pkey PRIMARY KEY (id),
    CONSTRAINT volume_transfers_volume_key UNIQUE (volume_id),
    CONSTRAINT volume_transfers_volume_id_fkey FOREIGN KEY (volume_id) REFERENCES volumes(id) ON DELETE CASCADE
);

CREATE TABLE identity_registered_limits (
    id            text NOT NULL,
    service_id    text NOT NULL,
    region_id     text,
    resource_name text NOT NULL,
    default_limit integer NOT NULL,
    description   text,
    CONSTRAINT identity_registered_limits_pkey PRIMARY KEY (id),
    CONSTRAINT identity_registered_limits_key UNIQUE NULLS NOT DISTINCT (service_id, region_id, resource_name),
    CONSTRAINT identity_registered_limits_region FOREIGN KEY (region_id) REFERENCES identity_regions(id),
    CONSTRAINT identity_registered_limits_service FOREIGN KEY (service_id) REFERENCES identity_services(id)
);

CREATE TABLE identity_limits (
    id                  text NOT NULL,
    registered_limit_id text NOT NULL,
    project_id          text,
    domain_id           text,
    resource_limit      integer NOT NULL,
    description         text,
    CONSTRAINT identity_limits_pkey PRIMARY KEY (id),
    CONSTRAINT identity_limits_key UNIQUE NULLS NOT DISTINCT (registered_limit_id, project_id, domain_id),
    CONSTRAINT identity_limits_owner CHECK (num_nonnulls(project_id, domain_id) = 1),
    CONSTRAINT identity_limits_domain_id_fkey FOREIGN KEY (domain_id) REFERENCES identity_projects(id) ON DELETE CASCADE,
    CONSTRAINT identity_limits_project_id_fkey FOREIGN KEY (project_id) REFERENCES identity_projects(id) ON DELETE CASCADE,
    CONSTRAINT identity_limits_registered FOREIGN KEY (registered_limit_id) REFERENCES identity_registered_limits(id)
);
CREATE INDEX identity_limits_by_domain ON identity_limits USING btree (domain_id) WHERE domain_id IS NOT NULL;
CREATE INDEX identity_limits_by_project ON identity_limits USING btree (project_id) WHERE project_id IS NOT NULL;

CREATE TABLE network_quotas (
    project_id text NOT NULL,
    resource   text NOT NULL,
    hard_limit integer NOT NULL,
    CONSTRAINT network_quotas_pkey PRIMARY KEY (project_id, resource)
);

CREATE TABLE port_bindings (
    port_id  uuid NOT NULL,
    host     text NOT NULL,
    vif_type text NOT NULL,
    profile  jsonb NOT NULL,
    CONSTRAINT port_bindings_key PRIMARY KEY (port_id, host),
    CONSTRAINT port_bindings_port_id_fkey FOREIGN KEY (port_id) REFERENCES ports(id) ON DELETE CASCADE
);

CREATE TABLE volume_services (
    name     text NOT NULL,
    disabled boolean NOT NULL DEFAULT false,
    reason   text,
    CONSTRAINT volume_services_pkey PRIMARY KEY (name)
);

CREATE TABLE identity_user_credentials (
    id          text NOT NULL,
    user_id     text NOT NULL,
    project_id  text,
    type        text NOT NULL,
    sealed_blob bytea NOT NULL,
    CONSTRAINT identity_user_credentials_pkey PRIMARY KEY (id),
    CONSTRAINT identity_user_credentials_project_id_fkey FOREIGN KEY (project_id) REFERENCES identity_projects(id) ON DELETE CASCADE,
    CONSTRAINT identity_user_credentials_user_id_fkey FOREIGN KEY (user_id) REFERENCES identity_users(id) ON DELETE CASCADE
);
CREATE INDEX identity_user_credentials_by_project ON identity_user_credentials USING btree (project_id) WHERE project_id IS NOT NULL;
CREATE INDEX identity_user_credentials_by_user ON identity_user_credentials USING btree (user_id);

CREATE TABLE subnet_pools (
    id             uuid NOT NULL,
    project_id     text NOT NULL,
    name           text NOT NULL DEFAULT ''::text,
    description    text NOT NULL DEFAULT ''::text,
    prefixes       cidr[] NOT NULL,
    ip_version     integer NOT NULL,
    default_prefix integer NOT NULL,
    min_prefix     integer NOT NULL,
    max_prefix     integer NOT NULL,
    default_quota  integer,
    shared         boolean NOT NULL DEFAULT false,
    is_default     boolean NOT NULL DEFAULT false,
    tags           text[] NOT NULL DEFAULT '{}'::text[],
    revision       integer NOT NULL DEFAULT 1,
    created_at     timestamp with time zone NOT NULL DEFAULT now(),
    updated_at     timestamp with time zone,
    CONSTRAINT subnet_pools_pkey PRIMARY KEY (id),
    CONSTRAINT subnet_pools_check CHECK (min_prefix <= default_prefix AND default_prefix <= max_prefix),
    CONSTRAINT subnet_pools_ip_version_check CHECK (ip_version = ANY (ARRAY[4, 6]))
);
CREATE UNIQUE INDEX subnet_pools_one_default ON subnet_pools USING btree (ip_version) WHERE is_default;
CREATE INDEX subnet_pools_project ON subnet_pools USING btree (project_id);

ALTER TABLE subnets ADD CONSTRAINT subnets_pool_fkey FOREIGN KEY (subnet_pool) REFERENCES subnet_pools(id);

ALTER TABLE volume_types ADD CONSTRAINT volume_types_qos_specs_fkey FOREIGN KEY (qos_specs_id) REFERENCES volume_qos_specs(id);

CREATE OR REPLACE FUNCTION identity_reach(who text)
 RETURNS TABLE(project_id text, domain_id text, role_id text)
 LANGUAGE sql
 STABLE
AS $function$
    WITH RECURSIVE mine AS (
        SELECT a.project_id, a.domain_id, a.role_id, a.inherited FROM identity_assignments a
        WHERE a.user_id = who OR a.group_id IN (SELECT m.group_id FROM identity_memberships m WHERE m.user_id = who)
    ), below AS (
        SELECT p.id, m.role_id FROM mine m
        JOIN identity_projects p ON p.parent_id = m.project_id OR p.domain_id = m.domain_id
        WHERE m.inherited
        UNION
        SELECT p.id, b.role_id FROM below b JOIN identity_projects p ON p.parent_id = b.id
    )
    SELECT m.project_id, m.domain_id, m.role_id FROM mine m WHERE NOT m.inherited
    UNION
    SELECT b.id, NULL, b.role_id FROM below b
$function$;

CREATE VIEW port_specs AS
 SELECT p.id,
    p.network_id,
    p.project_id,
    p.mac,
    p.bound_to,
    p.host,
    p."position",
    p.tag,
    n.mtu,
    n.name AS network_label,
    p.port_security_enabled AS port_security,
    COALESCE(( SELECT jsonb_agg(jsonb_build_object('address', host(a.address), 'subnet_id', s.id, 'cidr', s.cidr, 'version', family(s.cidr::inet), 'gateway', host(s.gateway), 'routes', s.host_routes, 'dns_servers', to_jsonb(s.dns_servers), 'dhcp', s.enable_dhcp, 'ra_mode', s.ipv6_ra_mode, 'address_mode', s.ipv6_address_mode) ORDER BY (family(s.cidr::inet)), a.address) AS jsonb_agg
           FROM addresses a
             JOIN subnets s ON s.id = a.subnet_id
          WHERE a.port_id = p.id), '[]'::jsonb) AS addresses,
    COALESCE(( SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object('group', r.security_group_id, 'direction', r.direction, 'ethertype', r.ethertype, 'protocol', r.protocol, 'port_range_min', r.port_range_min, 'port_range_max', r.port_range_max, 'remote_ip_prefix', r.remote_ip_prefix, 'remote_group', r.remote_group_id)) ORDER BY r.created_at, r.id) AS jsonb_agg
           FROM port_security_groups g
             JOIN security_group_rules r ON r.security_group_id = g.security_group_id
          WHERE g.port_id = p.id), '[]'::jsonb) AS security_rules,
    p.allowed_address_pairs,
    n.apart,
    p.admin_state_up AND n.admin_state_up AS up,
    n.wires,
    n.vlan
   FROM ports p
     JOIN networks n ON n.id = p.network_id;

CREATE OR REPLACE FUNCTION take_address(port uuid, subnet subnets, wish inet, seed bigint)
 RETURNS inet
 LANGUAGE plpgsql
AS $function$
DECLARE
    pool record;
    size bigint;
    candidate inet;
BEGIN
    IF subnet.ipv6_address_mode IN ('slaac', 'dhcpv6-stateless') THEN
        SELECT eui64(subnet.cidr, p.mac) INTO candidate FROM ports p WHERE p.id = port;
        IF wish IS NOT NULL AND wish <> candidate THEN
            RAISE EXCEPTION 'addresses make themselves' USING ERRCODE = 'check_violation', CONSTRAINT = 'address_is_made';
        END IF;
        INSERT INTO addresses VALUES (subnet.id, candidate, port) ON CONFLICT DO NOTHING;
        RETURN candidate;
    END IF;
    IF wish IS NOT NULL THEN
        INSERT INTO addresses VALUES (subnet.id, wish, port);
        RETURN wish;
    END IF;
    FOR pool IN SELECT (p->>'start')::inet AS first, (p->>'end')::inet AS last FROM jsonb_array_elements(subnet.pools) p LOOP
        size := CASE WHEN family(pool.first) = 6 AND pool.last > pool.first + 1048575 THEN 1048576 ELSE pool.last - pool.first + 1 END;
        FOR candidate IN
            SELECT pool.first + (abs(seed) % size + n) % size FROM generate_series(0, least(size, 64) - 1) n
        LOOP
            IF claim_address(port, subnet.id, candidate) THEN RETURN candidate; END IF;
        END LOOP;
        CONTINUE WHEN size <= 64;
        FOR candidate IN
            SELECT pool.first + n FROM generate_series(0, size - 1) n
            WHERE NOT EXISTS (SELECT FROM addresses a WHERE a.subnet_id = subnet.id AND a.address = pool.first + n)
        LOOP
            IF claim_address(port, subnet.id, candidate) THEN RETURN candidate; END IF;
        END LOOP;
    END LOOP;
    RETURN NULL;
END $function$;

CREATE OR REPLACE FUNCTION claim_address(port uuid, subnet uuid, candidate inet)
 RETURNS boolean
 LANGUAGE plpgsql
AS $function$
BEGIN
    IF EXISTS (SELECT FROM addresses a WHERE a.subnet_id = subnet AND a.address = candidate)
       OR NOT pg_try_advisory_xact_lock(hashtextextended(subnet || '/' || host(candidate), 0)) THEN
        RETURN false;
    END IF;
    INSERT INTO addresses VALUES (subnet, candidate, port) ON CONFLICT DO NOTHING;
    RETURN FOUND;
END $function$;

CREATE OR REPLACE FUNCTION take_addresses(port uuid, network uuid, wishes jsonb, seed bigint)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
DECLARE
    subnet subnets;
    wish jsonb;
    version integer;
    taken inet;
BEGIN
    IF wishes IS NOT NULL THEN
        FOR wish IN SELECT * FROM jsonb_array_elements(wishes) LOOP
            SELECT * INTO subnet FROM subnets s
            WHERE s.network_id = network AND (wish->>'subnet_id' IS NULL OR s.id = (wish->>'subnet_id')::uuid)
              AND (wish->>'ip_address' IS NULL OR (wish->>'ip_address')::inet << s.cidr) ORDER BY s.created_at, s.id LIMIT 1;
            IF NOT FOUND THEN
                RAISE EXCEPTION 'no such subnet' USING ERRCODE = 'check_violation', CONSTRAINT = 'address_in_subnet';
            END IF;
            IF take_address(port, subnet, (wish->>'ip_address')::inet, seed) IS NULL THEN
                RAISE EXCEPTION 'subnet is full' USING ERRCODE = 'check_violation', CONSTRAINT = 'subnet_has_addresses';
            END IF;
        END LOOP;
        RETURN;
    END IF;
    FOR subnet IN SELECT * FROM subnets s WHERE s.network_id = network AND s.ipv6_address_mode IN ('slaac', 'dhcpv6-stateless') LOOP
        PERFORM take_address(port, subnet, NULL, seed);
    END LOOP;
    FOR version IN
        SELECT DISTINCT family(s.cidr) FROM subnets s
        WHERE s.network_id = network AND COALESCE(s.ipv6_address_mode, '') NOT IN ('slaac', 'dhcpv6-stateless') ORDER BY 1
    LOOP
        taken := NULL;
        FOR subnet IN
            SELECT * FROM subnets s WHERE s.network_id = network AND family(s.cidr) = version
              AND COALESCE(s.ipv6_address_mode, '') NOT IN ('slaac', 'dhcpv6-stateless') ORDER BY s.created_at, s.id
        LOOP
            taken := take_address(port, subnet, NULL, seed);
            EXIT WHEN taken IS NOT NULL;
        END LOOP;
        IF taken IS NULL THEN
            RAISE EXCEPTION 'network is full' USING ERRCODE = 'check_violation', CONSTRAINT = 'subnet_has_addresses';
        END IF;
    END LOOP;
END $function$;

CREATE OR REPLACE FUNCTION default_group(project text)
 RETURNS uuid
 LANGUAGE plpgsql
AS $function$
DECLARE
    made uuid := md5('default security group of ' || project)::uuid;
    found_id uuid;
BEGIN
    SELECT g.id INTO found_id FROM security_groups g WHERE g.project_id = project AND g.is_default;
    IF found_id IS NOT NULL THEN
        RETURN found_id;
    END IF;
    INSERT INTO security_groups (id, project_id, name, description, is_default)
    VALUES (made, project, 'default', 'Default security group', true) ON CONFLICT DO NOTHING;
    INSERT INTO security_group_rules (id, security_group_id, project_id, direction, ethertype, remote_group_id)
    SELECT md5(made || direction || version)::uuid, made, project, direction, version, CASE direction WHEN 'ingress' THEN made END
    FROM (VALUES ('egress'), ('ingress')) AS d(direction), (VALUES ('IPv4'), ('IPv6')) AS v(version) ON CONFLICT DO NOTHING;
    RETURN made;
END $function$;

CREATE OR REPLACE FUNCTION bind_ports(server text, project text, owner text, on_host text, dns text, wishes jsonb, group_names text[])
 RETURNS SETOF port_specs
 LANGUAGE plpgsql
AS $function$
DECLARE
    wish record;
    made boolean;
    groups uuid[];
BEGIN
    SELECT array_agg(g.id) INTO groups FROM security_groups g
    WHERE g.project_id = project AND (g.name = ANY(group_names) OR g.id::text = ANY(group_names));
    groups := COALESCE(groups, ARRAY[default_group(project)]);
    FOR wish IN SELECT * FROM jsonb_to_recordset(wishes) AS w(
        position integer, network_id uuid, port_id uuid, fixed_ip text, tag text, new_id uuid, seed bigint) ORDER BY 1
    LOOP
        IF wish.port_id IS NOT NULL THEN
            UPDATE ports p SET bound_to = server, device_id = server, device_owner = owner, host = on_host, position = wish.position,
                   tag = wish.tag,
                   dns_name = CASE WHEN p.dns_name = '' THEN dns ELSE p.dns_name END, revision = revision + 1, updated_at = now()
            WHERE p.id = wish.port_id AND p.bound_to IN ('', server) AND p.device_id IN ('', server)
              AND (p.bound_to = '' OR p.host <> on_host OR p.position <> wish.position);
            IF NOT EXISTS (SELECT FROM ports p WHERE p.id = wish.port_id AND p.bound_to = server) THEN
                RAISE EXCEPTION 'port is taken' USING ERRCODE = 'check_violation', CONSTRAINT = 'port_is_free';
            END IF;
            CONTINUE;
        END IF;
        UPDATE ports p SET host = on_host, device_owner = owner WHERE p.made_for = server AND p.position = wish.position;
        CONTINUE WHEN FOUND;
        FOR attempt IN 0..15 LOOP
            INSERT INTO ports (id, network_id, project_id, mac, bound_to, device_id, device_owner, host, position, made_for, tag, dns_name,
                               port_security_enabled)
            SELECT wish.new_id, n.id, project, mac_of(wish.seed + attempt), server, server, owner, on_host, wish.position, server,
                   wish.tag, dns,
                   n.port_security_enabled
            FROM networks n WHERE n.id = wish.network_id ON CONFLICT ON CONSTRAINT ports_mac_key DO NOTHING;
            made := FOUND;
            EXIT WHEN made;
        END LOOP;
        IF NOT made THEN
            RAISE EXCEPTION 'no such network' USING ERRCODE = 'check_violation', CONSTRAINT = 'port_has_network';
        END IF;
        PERFORM take_addresses(wish.new_id, wish.network_id,
            CASE WHEN wish.fixed_ip IS NOT NULL THEN jsonb_build_array(jsonb_build_object('ip_address', wish.fixed_ip)) END, wish.seed);
        INSERT INTO port_security_groups SELECT wish.new_id, g FROM unnest(groups) g
        WHERE (SELECT port_security_enabled FROM ports p WHERE p.id = wish.new_id);
    END LOOP;
    RETURN QUERY SELECT * FROM port_specs s WHERE s.bound_to = server ORDER BY s.position, s.id;
END $function$;

CREATE OR REPLACE FUNCTION mac_of(seed bigint)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE
AS $function$
    SELECT 'fa:16:3e' || regexp_replace(lpad(to_hex(abs(seed) % 16777216), 6, '0'), '(..)', ':\1', 'g')
$function$;

CREATE OR REPLACE FUNCTION addresses_of(port uuid)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
    SELECT COALESCE(jsonb_agg(jsonb_build_object('subnet_id', a.subnet_id, 'ip_address', host(a.address)) ORDER BY a.address), '[]')
    FROM addresses a WHERE a.port_id = port
$function$;

CREATE OR REPLACE FUNCTION host_addresses(network uuid)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
    SELECT COALESCE(jsonb_object_agg(a.subnet_id, host(a.address)), '{}')
    FROM router_ports b JOIN addresses a ON a.port_id = b.port_id WHERE b.network_id = network AND b.kind = 'host'
$function$;

CREATE OR REPLACE FUNCTION floating_of(port uuid)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
    SELECT COALESCE(jsonb_object_agg(fixed, floating), '{}') FROM (
        SELECT host(a.address) AS fixed, jsonb_agg(host(e.address) ORDER BY e.address) AS floating
        FROM addresses a JOIN floating_ips f ON (f.fixed_subnet, f.fixed_address) = (a.subnet_id, a.address)
        JOIN addresses e ON e.port_id = f.port_id WHERE a.port_id = port GROUP BY a.address) AS pairs
$function$;

CREATE OR REPLACE FUNCTION eui64(range cidr, mac text)
 RETURNS inet
 LANGUAGE sql
 IMMUTABLE
AS $function$
    SELECT host(network(range)::inet
        | ('::' || to_hex(get_byte(o, 0) # 2) || lpad(to_hex(get_byte(o, 1)), 2, '0') || ':' || to_hex(get_byte(o, 2)) || 'ff:fe'
           || lpad(to_hex(get_byte(o, 3)), 2, '0') || ':' || to_hex(get_byte(o, 4)) || lpad(to_hex(get_byte(o, 5)), 2, '0'))::inet)::inet
    FROM decode(replace(mac, ':', ''), 'hex') AS o
$function$;
