-- bootstrap --
-- The network that a new deployment starts with; leaves an existing one alone.
-- $1 network, $2 project, $3 name, $4 MTU, $5 subnet, $6 CIDR, $7 gateway, $8 pools, $9 DNS servers
WITH network AS (
    INSERT INTO networks (id, project_id, name, description, shared, mtu, bootstrap)
    VALUES ($1, $2, $3, 'Shared by all projects', true, $4, true) ON CONFLICT DO NOTHING RETURNING id
)
INSERT INTO subnets (id, network_id, project_id, name, cidr, gateway, pools, dns_servers)
SELECT $5, network.id, $2, $3 || '-subnet', $6::text::cidr, $7::text::inet, $8, $9::text[] FROM network

-- networks --
-- What a project may see, or everything. Network lists are ordered by id.
-- $1 project, null for all; $2 ids or null; $3 names or null; $4 the id after which to start, or null; $5 how many, or null
SELECT n.id, n.project_id, n.name, n.description, n.shared, n.external, n.admin_state_up, n.port_security_enabled, n.mtu, n.dns_domain,
       n.vni, n.is_default, n.apart, n.provider, n.physical_network, n.vlan, n.tags, n.revision, n.created_at, n.updated_at,
       ARRAY(SELECT s.id FROM subnets s WHERE s.network_id = n.id ORDER BY s.created_at, s.id) AS subnets
FROM networks n
WHERE ($1::text IS NULL OR n.project_id = $1 OR n.shared OR n.external)
  AND ($2::uuid[] IS NULL OR n.id = ANY($2)) AND ($3::text[] IS NULL OR n.name = ANY($3)) AND ($4::uuid IS NULL OR n.id > $4)
ORDER BY n.id LIMIT $5::integer

-- insert_network --
-- $1 id, $2 project, $3 name, $4 description, $5 shared, $6 external, $7 up, $8 port security, $9 MTU, $10 DNS domain, $11 default,
-- $12 apart, $13 provider, $14 physical network, $15 VLAN
INSERT INTO networks (id, project_id, name, description, shared, external, admin_state_up, port_security_enabled, mtu, dns_domain,
                      is_default, apart, provider, physical_network, vlan)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)

-- lock_network --
-- Others who change it wait; ports and subnets can be made meanwhile. $1 id
SELECT id FROM networks WHERE id = $1 FOR NO KEY UPDATE

-- update_network --
-- $1 id, then as in insert_network from $2 name on
UPDATE networks SET name = $2, description = $3, shared = $4, external = $5, admin_state_up = $6, port_security_enabled = $7, mtu = $8,
       dns_domain = $9, is_default = $10, revision = revision + 1, updated_at = now()
WHERE id = $1

-- delete_network --
-- $1 id
DELETE FROM networks WHERE id = $1

-- tag_network --
-- $1 id, $2 tags
UPDATE networks SET tags = $2::text[], revision = revision + 1, updated_at = now() WHERE id = $1

-- subnets --
-- Those of the networks that a project may see. Parameters as in networks, and $6 ids of networks, or null
SELECT s.id, s.network_id, s.project_id, s.name, s.description, s.cidr::text AS cidr, host(s.gateway) AS gateway, s.enable_dhcp,
       s.dns_servers, s.host_routes, s.pools, s.ipv6_ra_mode, s.ipv6_address_mode, s.subnet_pool, s.tags, s.revision,
       s.created_at, s.updated_at
FROM subnets s JOIN networks n ON n.id = s.network_id
WHERE ($1::text IS NULL OR s.project_id = $1 OR n.project_id = $1 OR n.shared)
  AND ($2::uuid[] IS NULL OR s.id = ANY($2)) AND ($3::text[] IS NULL OR s.name = ANY($3)) AND ($4::uuid IS NULL OR s.id > $4)
  AND ($6::uuid[] IS NULL OR s.network_id = ANY($6))
ORDER BY s.id LIMIT $5::integer

-- lock_subnets --
-- Keep two overlapping subnets from being made at once: held until the transaction ends.
SELECT pg_advisory_xact_lock(hashtextextended('network/subnets', 0))

-- overlaps --
-- Whether other networks have addresses of this range, and whether hosts themselves do. $1 CIDR, $2 the network that is to have it
SELECT count(*) > 0 AS of_networks, COALESCE(bool_or(n.external OR NOT n.apart), false) AS of_hosts
FROM subnets s JOIN networks n ON n.id = s.network_id WHERE s.cidr && $1::text::cidr AND n.id <> $2

-- set_apart --
-- For good, unless hosts may have it otherwise already: the ports by which they answer are on none by themselves. $1 network; returns it
UPDATE networks n SET apart = true
WHERE n.id = $1 AND NOT EXISTS (
    SELECT FROM ports p WHERE p.network_id = n.id AND p.id NOT IN (SELECT b.port_id FROM router_ports b WHERE b.kind = 'host'))
RETURNING n.id

-- wired --
-- Whether a host has these wires. $1 as of PortSpec
SELECT EXISTS (SELECT FROM hosts h WHERE h.facts -> 'wires' ? $1::text) AS has

-- lock_topologies --
-- One at a time: automatic networks are made and removed.
SELECT pg_advisory_xact_lock(hashtextextended('network/topologies', 0))

-- free_range --
-- The first range that no subnet has anything of. $1 CIDR from which to take it, $2 the length of its prefix
SELECT set_masklen($1::text::cidr::inet + n, $2::integer)::text AS cidr
FROM generate_series(0, (2 ^ (32 - masklen($1::text::cidr)))::bigint - 1, (2 ^ (32 - $2::integer))::bigint) n
WHERE NOT EXISTS (SELECT FROM subnets s WHERE s.cidr && set_masklen($1::text::cidr::inet + n, $2::integer))
ORDER BY n LIMIT 1

-- insert_subnet --
-- $1 id, $2 network, $3 project, $4 name, $5 description, $6 CIDR, $7 gateway or null, $8 DHCP, $9 DNS servers, $10 routes, $11 pools,
-- $12 and $13 IPv6 modes or null, $14 the subnet pool whose range it is, or null
INSERT INTO subnets (id, network_id, project_id, name, description, cidr, gateway, enable_dhcp, dns_servers, host_routes, pools,
                     ipv6_ra_mode, ipv6_address_mode, subnet_pool)
VALUES ($1, $2, $3, $4, $5, $6::text::cidr, $7::text::inet, $8, $9::text[], $10, $11, $12, $13, $14)

-- address_all --
-- Give every port of a subnet's network an address of it, for guests make theirs whether they are asked or not; the servers. $1 subnet
WITH given AS MATERIALIZED (
    SELECT p.bound_to, take_address(p.id, s, NULL, 0) FROM subnets s JOIN ports p ON p.network_id = s.network_id
    WHERE s.id = $1 AND p.device_owner NOT LIKE 'network:%'
)
SELECT DISTINCT bound_to FROM given WHERE bound_to <> ''

-- forget_made_addresses --
-- Addresses that guests made themselves hold no subnet. $1 subnet
DELETE FROM addresses WHERE subnet_id = $1

-- update_subnet --
-- $1 id, $2 name, $3 description, $4 gateway or null, $5 DHCP, $6 DNS servers, $7 routes, $8 pools
UPDATE subnets SET name = $2, description = $3, gateway = $4::text::inet, enable_dhcp = $5, dns_servers = $6::text[], host_routes = $7,
       pools = $8, revision = revision + 1, updated_at = now()
WHERE id = $1

-- delete_subnet --
-- $1 id
DELETE FROM subnets WHERE id = $1

-- tag_subnet --
-- $1 id, $2 tags
UPDATE subnets SET tags = $2::text[], revision = revision + 1, updated_at = now() WHERE id = $1
