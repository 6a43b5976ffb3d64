-- The built-in network service: networks, subnets, ports with their addresses, security groups.

CREATE TABLE networks (
    id                      uuid PRIMARY KEY,
    project_id              text NOT NULL,
    name                    text NOT NULL DEFAULT '',
    description             text NOT NULL DEFAULT '',
    shared                  boolean NOT NULL DEFAULT false,
    external                boolean NOT NULL DEFAULT false,
    admin_state_up          boolean NOT NULL DEFAULT true,
    port_security_enabled   boolean NOT NULL DEFAULT true,
    mtu                     integer NOT NULL CHECK (mtu BETWEEN 68 AND 9216),
    dns_domain              text NOT NULL DEFAULT '',
    tags                    text[] NOT NULL DEFAULT '{}',
    bootstrap               boolean NOT NULL DEFAULT false,   -- the one made at first start
    revision                integer NOT NULL DEFAULT 1,
    created_at              timestamptz NOT NULL DEFAULT now(),
    updated_at              timestamptz
);
CREATE INDEX networks_project ON networks (project_id);
CREATE UNIQUE INDEX networks_one_bootstrap ON networks (bootstrap) WHERE bootstrap;

CREATE TABLE subnets (
    id                      uuid PRIMARY KEY,
    network_id              uuid NOT NULL REFERENCES networks ON DELETE CASCADE,
    project_id              text NOT NULL,
    name                    text NOT NULL DEFAULT '',
    description             text NOT NULL DEFAULT '',
    cidr                    cidr NOT NULL,
    gateway                 inet CHECK (gateway IS NULL OR gateway << cidr),
    enable_dhcp             boolean NOT NULL DEFAULT true,
    dns_servers             text[] NOT NULL DEFAULT '{}',
    host_routes             jsonb NOT NULL DEFAULT '[]',      -- [{destination, nexthop}]
    pools                   jsonb NOT NULL,                   -- [{start, end}], inside cidr, disjoint
    tags                    text[] NOT NULL DEFAULT '{}',
    revision                integer NOT NULL DEFAULT 1,
    created_at              timestamptz NOT NULL DEFAULT now(),
    updated_at              timestamptz
);
CREATE INDEX subnets_network ON subnets (network_id);

CREATE TABLE security_groups (
    id                      uuid PRIMARY KEY,
    project_id              text NOT NULL,
    name                    text NOT NULL,
    description             text NOT NULL DEFAULT '',
    stateful                boolean NOT NULL DEFAULT true,
    is_default              boolean NOT NULL DEFAULT false,
    tags                    text[] NOT NULL DEFAULT '{}',
    revision                integer NOT NULL DEFAULT 1,
    created_at              timestamptz NOT NULL DEFAULT now(),
    updated_at              timestamptz
);
CREATE INDEX security_groups_project ON security_groups (project_id);
CREATE UNIQUE INDEX security_groups_one_default ON security_groups (project_id) WHERE is_default;

CREATE TABLE security_group_rules (
    id                      uuid PRIMARY KEY,
    security_group_id       uuid NOT NULL REFERENCES security_groups ON DELETE CASCADE,
    project_id              text NOT NULL,
    direction               text NOT NULL CHECK (direction IN ('ingress', 'egress')),
    ethertype               text NOT NULL CHECK (ethertype IN ('IPv4', 'IPv6')),
    protocol                text,                             -- a name or a number as the user wrote it; null: any
    port_range_min          integer,                          -- for ICMP the type
    port_range_max          integer,                          -- for ICMP the code
    remote_ip_prefix        cidr,
    remote_group_id         uuid CONSTRAINT security_group_rules_remote_group_fkey REFERENCES security_groups ON DELETE CASCADE,
    description             text NOT NULL DEFAULT '',
    revision                integer NOT NULL DEFAULT 0,
    created_at              timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT security_group_rules_key UNIQUE NULLS NOT DISTINCT
        (security_group_id, direction, ethertype, protocol, port_range_min, port_range_max, remote_ip_prefix, remote_group_id)
);
CREATE INDEX security_group_rules_remote ON security_group_rules (remote_group_id) WHERE remote_group_id IS NOT NULL;

CREATE TABLE ports (
    id                      uuid PRIMARY KEY,
    network_id              uuid NOT NULL CONSTRAINT ports_network_fkey REFERENCES networks,
    project_id              text NOT NULL,
    name                    text NOT NULL DEFAULT '',
    description             text NOT NULL DEFAULT '',
    admin_state_up          boolean NOT NULL DEFAULT true,
    port_security_enabled   boolean NOT NULL DEFAULT true,
    mac                     text NOT NULL,                    -- lower case, with colons
    device_id               text NOT NULL DEFAULT '',         -- whatever its owner says; the server's id once it is bound
    bound_to                text NOT NULL DEFAULT '',         -- the server that has it: only binding sets this
    device_owner            text NOT NULL DEFAULT '',         -- compute:<zone>
    host                    text NOT NULL DEFAULT '',
    position                integer NOT NULL DEFAULT 0,       -- the order of a server's cards
    made_for                text,                             -- the server that we made it for; null: the user brought it
    tag                     text,                             -- the device tag the user gave at boot
    dns_name                text NOT NULL DEFAULT '',
    allowed_address_pairs   jsonb NOT NULL DEFAULT '[]',
    profile                 jsonb NOT NULL DEFAULT '{}',
    tags                    text[] NOT NULL DEFAULT '{}',
    revision                integer NOT NULL DEFAULT 1,
    created_at              timestamptz NOT NULL DEFAULT now(),
    updated_at              timestamptz,
    CONSTRAINT ports_mac_key UNIQUE (network_id, mac)
);
CREATE INDEX ports_project ON ports (project_id);
CREATE INDEX ports_device ON ports (device_id);
CREATE INDEX ports_bound ON ports (bound_to);
CREATE UNIQUE INDEX ports_made_once ON ports (made_for, position) WHERE made_for IS NOT NULL;

CREATE TABLE addresses (
    subnet_id               uuid NOT NULL CONSTRAINT addresses_subnet_fkey REFERENCES subnets,
    address                 inet NOT NULL,
    port_id                 uuid NOT NULL REFERENCES ports ON DELETE CASCADE,
    CONSTRAINT addresses_key PRIMARY KEY (subnet_id, address)
);
CREATE INDEX addresses_port ON addresses (port_id);

CREATE TABLE port_security_groups (
    port_id                 uuid NOT NULL REFERENCES ports ON DELETE CASCADE,
    security_group_id       uuid NOT NULL CONSTRAINT port_security_groups_group_fkey REFERENCES security_groups,
    PRIMARY KEY (port_id, security_group_id)
);
CREATE INDEX port_security_groups_group ON port_security_groups (security_group_id);

-- All that a host needs to plug a port (model/guests.py: PortSpec).
CREATE VIEW port_specs AS
SELECT p.id, p.network_id, p.project_id, p.mac, p.bound_to, p.host, p.position, p.tag, n.mtu, n.name AS network_label,
       p.port_security_enabled AS port_security,
       COALESCE((
           SELECT jsonb_agg(jsonb_build_object(
               'address', host(a.address), 'subnet_id', s.id, 'cidr', s.cidr, 'version', family(s.cidr), 'gateway', host(s.gateway),
               'routes', s.host_routes, 'dns_servers', to_jsonb(s.dns_servers), 'dhcp', s.enable_dhcp) ORDER BY family(s.cidr), a.address)
           FROM addresses a JOIN subnets s ON s.id = a.subnet_id WHERE a.port_id = p.id), '[]') AS addresses,
       COALESCE((
           SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
               'group', r.security_group_id, 'direction', r.direction, 'ethertype', r.ethertype, 'protocol', r.protocol,
               'port_range_min', r.port_range_min, 'port_range_max', r.port_range_max, 'remote_ip_prefix', r.remote_ip_prefix,
               'remote_group', r.remote_group_id)) ORDER BY r.created_at, r.id)
           FROM port_security_groups g JOIN security_group_rules r ON r.security_group_id = g.security_group_id
           WHERE g.port_id = p.id), '[]') AS security_rules
FROM ports p JOIN networks n ON n.id = p.network_id;

-- Give a port one address of a subnet: the wished one, or any free one. Returns null when none is to be had.
-- Candidates are probed from a random place on, so that concurrent callers rarely meet; where they do, the advisory lock lets
-- the later one step aside instead of waiting. Each statement in here sees what was committed before it, not before the caller's.
CREATE FUNCTION take_address(port uuid, subnet subnets, wish inet, seed bigint) RETURNS inet LANGUAGE plpgsql AS $$
DECLARE
    pool record;
    size bigint;
    candidate inet;
BEGIN
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
END $$;

CREATE FUNCTION claim_address(port uuid, subnet uuid, candidate inet) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM addresses a WHERE a.subnet_id = subnet AND a.address = candidate)
       OR NOT pg_try_advisory_xact_lock(hashtextextended(subnet || '/' || host(candidate), 0)) THEN
        RETURN false;
    END IF;
    INSERT INTO addresses VALUES (subnet, candidate, port) ON CONFLICT DO NOTHING;
    RETURN FOUND;
END $$;

-- Give a port an address of each IP version that its network has, or exactly the wished addresses ([{ip_address, subnet_id}]).
CREATE FUNCTION take_addresses(port uuid, network uuid, wishes jsonb, seed bigint) RETURNS void LANGUAGE plpgsql AS $$
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
    FOR version IN SELECT DISTINCT family(s.cidr) FROM subnets s WHERE s.network_id = network ORDER BY 1 LOOP
        taken := NULL;
        FOR subnet IN SELECT * FROM subnets s WHERE s.network_id = network AND family(s.cidr) = version ORDER BY s.created_at, s.id LOOP
            taken := take_address(port, subnet, NULL, seed);
            EXIT WHEN taken IS NOT NULL;
        END LOOP;
        IF taken IS NULL THEN
            RAISE EXCEPTION 'network is full' USING ERRCODE = 'check_violation', CONSTRAINT = 'subnet_has_addresses';
        END IF;
    END LOOP;
END $$;

-- The project's default group, made on first use with Neutron's rules: all out, and in from members of the same group.
-- Its ids follow from the project's, so that two callers who make it at once make the same one.
CREATE FUNCTION default_group(project text) RETURNS uuid LANGUAGE plpgsql AS $$
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
END $$;

-- Make the ports of a server that do not exist yet, take those that the user brought, and put all of them on a host.
-- A wish is {position, network_id or port_id, fixed_ip, tag, new_id, seed}. Repeating it changes nothing but the host. The groups
-- are names or ids; without any it is the default group.
CREATE FUNCTION bind_ports(server text, project text, owner text, on_host text, dns text, wishes jsonb, group_names text[])
RETURNS SETOF port_specs LANGUAGE plpgsql AS $$
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
END $$;

-- fa:16:3e is the prefix that OpenStack clouds use.
CREATE FUNCTION mac_of(seed bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT 'fa:16:3e' || regexp_replace(lpad(to_hex(abs(seed) % 16777216), 6, '0'), '(..)', ':\1', 'g')
$$;
