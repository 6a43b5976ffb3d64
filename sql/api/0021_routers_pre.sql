-- Routers between networks and to the outside, and floating IPs.

CREATE TABLE routers (
    id                      uuid PRIMARY KEY,
    project_id              text NOT NULL,
    name                    text NOT NULL DEFAULT '',
    description             text NOT NULL DEFAULT '',
    admin_state_up          boolean NOT NULL DEFAULT true,
    enable_snat             boolean NOT NULL DEFAULT true,
    routes                  jsonb NOT NULL DEFAULT '[]',      -- [{destination, nexthop}]
    host                    text NOT NULL DEFAULT '',         -- the one that carries it; empty: none yet
    tags                    text[] NOT NULL DEFAULT '{}',
    bootstrap               boolean NOT NULL DEFAULT false,   -- the one made at first start
    revision                integer NOT NULL DEFAULT 1,
    created_at              timestamptz NOT NULL DEFAULT now(),
    updated_at              timestamptz
);
CREATE INDEX routers_project ON routers (project_id);

-- The ports that a router has, or that it needs: users cannot make a port into one of these.
CREATE TABLE router_ports (
    port_id                 uuid PRIMARY KEY CONSTRAINT router_ports_port_fkey REFERENCES ports,
    router_id               uuid NOT NULL CONSTRAINT router_ports_router_fkey REFERENCES routers,
    network_id              uuid NOT NULL,                    -- the port's
    kind                    text NOT NULL CHECK (kind IN ('interface', 'gateway', 'host'))  -- host: see below
);
CREATE INDEX router_ports_router ON router_ports (router_id);
CREATE UNIQUE INDEX router_ports_one_gateway ON router_ports (router_id) WHERE kind = 'gateway';
-- Where a router has the gateway's address of a subnet, hosts answer there (DHCP, DNS, metadata) by the address of this port.
CREATE INDEX router_ports_host ON router_ports (network_id) WHERE kind = 'host';

CREATE TABLE floating_ips (
    id                      uuid PRIMARY KEY,
    project_id              text NOT NULL,
    network_id              uuid NOT NULL,                    -- the external one
    port_id                 uuid NOT NULL CONSTRAINT floating_ips_port_fkey REFERENCES ports,  -- has the address
    router_id               uuid REFERENCES routers ON DELETE SET NULL,
    fixed_subnet            uuid,                              -- the address behind it; it goes when its port does
    fixed_address           inet,
    plugged                 boolean NOT NULL DEFAULT false,    -- the router's host has it
    description             text NOT NULL DEFAULT '',
    tags                    text[] NOT NULL DEFAULT '{}',
    revision                integer NOT NULL DEFAULT 1,
    created_at              timestamptz NOT NULL DEFAULT now(),
    updated_at              timestamptz,
    FOREIGN KEY (fixed_subnet, fixed_address) REFERENCES addresses ON DELETE SET NULL,
    CONSTRAINT floating_ips_fixed_key UNIQUE (network_id, fixed_subnet, fixed_address)
);
CREATE INDEX floating_ips_project ON floating_ips (project_id);
CREATE INDEX floating_ips_port ON floating_ips (port_id);
CREATE INDEX floating_ips_router ON floating_ips (router_id);
CREATE INDEX floating_ips_fixed ON floating_ips (fixed_subnet, fixed_address);

-- A port's addresses as the API shows them: [{subnet_id, ip_address}].
CREATE FUNCTION addresses_of(port uuid) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT COALESCE(jsonb_agg(jsonb_build_object('subnet_id', a.subnet_id, 'ip_address', host(a.address)) ORDER BY a.address), '[]')
    FROM addresses a WHERE a.port_id = port
$$;
