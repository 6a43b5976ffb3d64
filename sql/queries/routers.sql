-- routers --
-- A project's routers, or all.
-- $1 project, null for all; $2 ids or null; $3 names or null; $4 the id after which to start, or null; $5 how many, or null
SELECT r.id, r.project_id, r.name, r.description, r.admin_state_up, r.enable_snat, r.routes, r.host, r.tags, r.revision, r.created_at,
       r.updated_at,
       (SELECT jsonb_build_object('port_id', g.port_id, 'network_id', g.network_id, 'addresses', addresses_of(g.port_id))
        FROM router_ports g WHERE g.router_id = r.id AND g.kind = 'gateway') AS gateway
FROM routers r
WHERE ($1::text IS NULL OR r.project_id = $1)
  AND ($2::uuid[] IS NULL OR r.id = ANY($2)) AND ($3::text[] IS NULL OR r.name = ANY($3)) AND ($4::uuid IS NULL OR r.id > $4)
ORDER BY r.id LIMIT $5::integer

-- lock_router --
-- Until the transaction ends nobody else changes what the router is joined to. $1 id
SELECT id FROM routers WHERE id = $1 FOR UPDATE

-- insert_router --
-- $1 id, $2 project, $3 name, $4 description, $5 up, $6 SNAT
INSERT INTO routers (id, project_id, name, description, admin_state_up, enable_snat) VALUES ($1, $2, $3, $4, $5, $6)

-- update_router --
-- $1 id, $2 name, $3 description, $4 up, $5 SNAT, $6 routes
UPDATE routers SET name = $2, description = $3, admin_state_up = $4, enable_snat = $5, routes = $6, revision = revision + 1,
       updated_at = now()
WHERE id = $1

-- delete_router --
-- $1 id
DELETE FROM routers WHERE id = $1

-- tag_router --
-- $1 id, $2 tags
UPDATE routers SET tags = $2::text[], revision = revision + 1, updated_at = now() WHERE id = $1

-- router_ports --
-- The ports of a router. $1 router
SELECT b.port_id, b.network_id, b.kind, addresses_of(b.port_id) AS addresses FROM router_ports b WHERE b.router_id = $1 ORDER BY b.port_id

-- routers_behind --
-- The routers that ports belong to, or that send floating IPs to them. $1 ports
SELECT b.router_id FROM router_ports b WHERE b.port_id = ANY($1::uuid[]) AND b.router_id IS NOT NULL
UNION
SELECT f.router_id FROM floating_ips f JOIN addresses a ON (a.subnet_id, a.address) = (f.fixed_subnet, f.fixed_address)
WHERE a.port_id = ANY($1) AND f.router_id IS NOT NULL

-- join_port --
-- $1 port, $2 router (null: of none, for hosts), $3 network, $4 kind
INSERT INTO router_ports (port_id, router_id, network_id, kind) VALUES ($1, $2, $3, $4)

-- part_port --
-- A port leaves its router, and the world. $1 port
WITH gone AS (DELETE FROM router_ports WHERE port_id = $1 RETURNING port_id) DELETE FROM ports WHERE id IN (SELECT port_id FROM gone)

-- host_ports --
-- The ports by which hosts answer in subnets of a network. $1 network, $2 subnet or null for all
SELECT b.port_id, b.router_id FROM router_ports b
WHERE b.network_id = $1 AND b.kind = 'host'
  AND ($2::uuid IS NULL OR EXISTS (SELECT FROM addresses a WHERE a.port_id = b.port_id AND a.subnet_id = $2)) ORDER BY b.port_id

-- has_address --
-- Whether a port has this address of a subnet. $1 subnet, $2 address
SELECT EXISTS (SELECT FROM addresses a WHERE a.subnet_id = $1 AND a.address = $2::text::inet) AS has

-- router_between --
-- The router that joins a subnet to an external network, preferably the subnet's gateway. $1 external network, $2 subnet
SELECT g.router_id FROM router_ports g
JOIN router_ports i ON i.router_id = g.router_id AND i.kind = 'interface'
JOIN addresses a ON a.port_id = i.port_id JOIN subnets s ON s.id = a.subnet_id
WHERE g.kind = 'gateway' AND g.network_id = $1 AND a.subnet_id = $2 ORDER BY (a.address = s.gateway) DESC, g.router_id LIMIT 1

-- servers_on --
-- The servers that have a port in a network. $1 network
SELECT DISTINCT p.bound_to FROM ports p WHERE p.network_id = $1 AND p.bound_to <> ''

-- routers_on --
-- The routers that have a port in a network. $1 network
SELECT DISTINCT b.router_id FROM router_ports b WHERE b.network_id = $1 AND b.router_id IS NOT NULL

-- floating_in_use --
-- Whether a router sends floating IPs to a subnet (null: to any), or has them in an external network. $1 router, $2 subnet or null
SELECT EXISTS (SELECT FROM floating_ips f WHERE f.router_id = $1 AND f.fixed_address IS NOT NULL AND ($2::uuid IS NULL OR f.fixed_subnet = $2))
    AS used

-- used_outside --
-- Whether an external network has gateways or floating IPs. $1 network
SELECT EXISTS (SELECT FROM router_ports WHERE network_id = $1 AND kind = 'gateway')
    OR EXISTS (SELECT FROM floating_ips WHERE network_id = $1) AS used

-- floating_ips --
-- A project's floating IPs, or all. Parameters as in routers (they have no name); $6 addresses or null, $7 ports behind them or null
SELECT f.id, f.project_id, f.network_id, f.description, f.tags, f.revision, f.created_at, f.updated_at,
       host(e.address) AS address, host(f.fixed_address) AS fixed_address, a.port_id AS fixed_port,
       CASE WHEN a.port_id IS NOT NULL THEN f.router_id END AS router_id, f.plugged,
       CASE WHEN a.port_id IS NOT NULL THEN jsonb_build_object(
           'name', p.name, 'network_id', p.network_id, 'mac_address', p.mac, 'admin_state_up', p.admin_state_up,
           'status', CASE WHEN p.host <> '' AND p.admin_state_up AND n.admin_state_up THEN 'ACTIVE' ELSE 'DOWN' END,
           'device_id', p.device_id, 'device_owner', p.device_owner) END
       AS port_details
FROM floating_ips f JOIN addresses e ON e.port_id = f.port_id
LEFT JOIN addresses a ON (a.subnet_id, a.address) = (f.fixed_subnet, f.fixed_address) LEFT JOIN ports p ON p.id = a.port_id
LEFT JOIN networks n ON n.id = p.network_id
WHERE ($1::text IS NULL OR f.project_id = $1) AND ($2::uuid[] IS NULL OR f.id = ANY($2)) AND $3::text[] IS NULL
  AND ($4::uuid IS NULL OR f.id > $4) AND ($6::text[] IS NULL OR host(e.address) = ANY($6)) AND ($7::uuid[] IS NULL OR a.port_id = ANY($7))
ORDER BY f.id LIMIT $5::integer

-- insert_floating_ip --
-- $1 id, $2 project, $3 external network, $4 port with its address, $5 description
INSERT INTO floating_ips (id, project_id, network_id, port_id, description) VALUES ($1, $2, $3, $4, $5)

-- update_floating_ip --
-- $1 id, $2 description, $3 router, $4 subnet, $5 fixed address; null: of none
UPDATE floating_ips SET description = $2, router_id = $3, fixed_subnet = $4, fixed_address = $5::text::inet,
       plugged = plugged AND (router_id, fixed_subnet, fixed_address) IS NOT DISTINCT FROM ($3, $4, $5::text::inet),
       revision = revision + 1, updated_at = now()
WHERE id = $1

-- delete_floating_ip --
-- With the port that has its address. $1 id
WITH gone AS (DELETE FROM floating_ips WHERE id = $1 RETURNING port_id) DELETE FROM ports WHERE id IN (SELECT port_id FROM gone)

-- delete_unused_floating_ips --
-- Those of an external network that lead nowhere, with the ports that have their addresses. $1 network
WITH gone AS (DELETE FROM floating_ips WHERE network_id = $1 AND fixed_address IS NULL RETURNING port_id)
DELETE FROM ports WHERE id IN (SELECT port_id FROM gone)

-- tag_floating_ip --
-- $1 id, $2 tags
UPDATE floating_ips SET tags = $2::text[], revision = revision + 1, updated_at = now() WHERE id = $1

-- plugged --
-- The host of a router has these floating IPs, and no others of it. $1 router, $2 floating IPs
UPDATE floating_ips SET plugged = id = ANY($2::uuid[]) WHERE router_id = $1 AND plugged <> (id = ANY($2))

-- specs --
-- All that a host must know of routers. $1 ids, or null for all
SELECT r.id, r.project_id, r.admin_state_up, r.enable_snat, r.routes, r.host,
       COALESCE((
           SELECT jsonb_agg(jsonb_build_object(
               'id', p.id, 'network_id', p.network_id, 'mac', p.mac, 'mtu', n.mtu, 'apart', n.apart, 'kind', b.kind,
               'up', p.admin_state_up AND n.admin_state_up, 'wires', n.wires, 'vlan', n.vlan,
               'host_addresses', host_addresses(p.network_id), 'addresses', COALESCE((
                   SELECT jsonb_agg(jsonb_build_object('address', host(a.address), 'subnet_id', s.id, 'cidr', s.cidr, 'version', family(s.cidr),
                       'gateway', host(s.gateway)) ORDER BY family(s.cidr), a.address)
                   FROM addresses a JOIN subnets s ON s.id = a.subnet_id WHERE a.port_id = p.id), '[]')) ORDER BY p.id)
           FROM router_ports b JOIN ports p ON p.id = b.port_id JOIN networks n ON n.id = p.network_id
           WHERE b.router_id = r.id AND b.kind <> 'host'), '[]') AS ports,
       COALESCE((
           SELECT jsonb_agg(jsonb_build_object('id', f.id, 'address', host(e.address), 'fixed_address', host(f.fixed_address)) ORDER BY e.address)
           FROM floating_ips f JOIN addresses e ON e.port_id = f.port_id
           WHERE f.router_id = r.id AND f.fixed_address IS NOT NULL), '[]') AS floating_ips
FROM routers r WHERE $1::uuid[] IS NULL OR r.id = ANY($1) ORDER BY r.id

-- homes --
-- Which host carries each router; empty: none yet.
SELECT r.id, r.host FROM routers r ORDER BY r.id

-- give_router --
-- It leaves one host (empty: none) for another. $1 router, $2 the host that has it, $3 the host that gets it
UPDATE routers SET host = $3 WHERE id = $1 AND host = $2 RETURNING id

-- place_router --
-- The inner ports are where the router is. $1 router; returns where that is news
UPDATE ports p SET host = r.host FROM router_ports b JOIN routers r ON r.id = b.router_id
WHERE b.port_id = p.id AND b.router_id = $1 AND b.kind = 'interface' AND p.host <> r.host RETURNING p.network_id, p.project_id
