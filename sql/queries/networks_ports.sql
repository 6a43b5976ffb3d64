-- survey --
-- What a request for network cards is judged by, in one row of lists; makes the project's default group when it is missing.
-- $1 project, $2 whether the caller is an administrator, $3 ids of networks asked for, $4 ids of ports, $5 addresses asked for,
-- $6 how many ports projects may have that nobody set a limit for; -1: any number
SELECT
    default_group($1) AS default_group,
    COALESCE((
        SELECT jsonb_agg(jsonb_build_object('id', n.id, 'name', n.name, 'external', n.external, 'own', n.project_id = $1, 'shared', n.shared,
            'guarded', n.port_security_enabled, 'wires', n.wires,
            'cidrs', (SELECT COALESCE(jsonb_agg(s.cidr), '[]') FROM subnets s WHERE s.network_id = n.id),
            'gateways', (SELECT COALESCE(jsonb_agg(host(s.gateway)), '[]') FROM subnets s WHERE s.network_id = n.id),
            'taken', (SELECT COALESCE(jsonb_agg(host(a.address)), '[]') FROM subnets s JOIN addresses a ON a.subnet_id = s.id
                      WHERE s.network_id = n.id AND a.address = ANY($5::text[]::inet[]))) ORDER BY n.created_at, n.id)
        FROM networks n WHERE n.project_id = $1 OR n.shared OR n.external AND n.id = ANY($3::uuid[]) OR $2 AND n.id = ANY($3::uuid[])), '[]'
    ) AS networks,
    COALESCE((
        SELECT jsonb_agg(jsonb_build_object('id', p.id, 'network_id', p.network_id, 'in_use', p.bound_to <> '' OR p.device_id <> '',
            'on_guarded', n.port_security_enabled, 'wires', n.wires, 'addressed', EXISTS (SELECT FROM addresses a WHERE a.port_id = p.id)))
        FROM ports p JOIN networks n ON n.id = p.network_id
        WHERE p.id = ANY($4::uuid[]) AND (p.project_id = $1 OR $2)), '[]') AS ports,
    COALESCE((
        SELECT jsonb_agg(jsonb_build_object('id', g.id, 'name', g.name)) FROM security_groups g WHERE g.project_id = $1), '[]') AS groups,
    (SELECT CASE WHEN l.most >= 0 THEN greatest(l.most - (SELECT count(*) FROM ports p WHERE p.project_id = $1), 0) END
     FROM (SELECT COALESCE((SELECT q.hard_limit FROM network_quotas q WHERE q.project_id = $1 AND q.resource = 'port'), $6::integer) AS most
          ) l) AS ports_left

-- bind --
-- $1 server, $2 project, $3 device owner, $4 host, $5 host name of the server, $6 wishes (bind_ports), $7 names or ids of groups
SELECT id, network_id, project_id, mac, position, tag, mtu, network_label, port_security, addresses, security_rules,
       allowed_address_pairs, apart, up, wires, vlan,
       host_addresses(network_id) AS host_addresses, floating_of(id) AS floating,
       COALESCE((SELECT p.dns_name FROM ports p WHERE p.id = b.id AND p.dns_name <> ''), $5) AS dns_name,
       (SELECT n.dns_domain FROM networks n WHERE n.id = network_id) AS dns_domain
FROM bind_ports($1, $2, $3, $4, $5, $6, $7::text[]) b

-- unbind --
-- Where they were, and the routers that sent floating IPs to deleted ones. $1 server, $2 port or null for all of them
WITH unready AS (
    DELETE FROM port_bindings b USING ports p WHERE p.id = b.port_id AND p.bound_to = $1 AND ($2::uuid IS NULL OR p.id = $2)
), freed AS (
    UPDATE ports SET bound_to = '', device_id = '', device_owner = '', host = '', tag = NULL, revision = revision + 1, updated_at = now()
    WHERE bound_to = $1 AND made_for IS DISTINCT FROM $1 AND ($2::uuid IS NULL OR id = $2) RETURNING network_id, project_id
), gone AS (
    DELETE FROM ports WHERE made_for = $1 AND ($2 IS NULL OR id = $2) RETURNING id, network_id, project_id
)
SELECT network_id, project_id, NULL::uuid AS router_id FROM freed
UNION SELECT gone.network_id, gone.project_id, f.router_id
FROM gone LEFT JOIN addresses a ON a.port_id = gone.id
LEFT JOIN floating_ips f ON (f.fixed_subnet, f.fixed_address) = (a.subnet_id, a.address)

-- move --
-- The ports of a server are on another host. $1 server, $2 host, $3 device owner
WITH ready AS (DELETE FROM port_bindings b USING ports p WHERE p.id = b.port_id AND p.bound_to = $1 AND b.host = $2)
UPDATE ports SET host = $2, device_owner = $3, revision = revision + 1, updated_at = now()
WHERE bound_to = $1 AND (host <> $2 OR device_owner <> $3)

-- bound --
-- $1 server
SELECT id, network_id, project_id, mac, position, tag, mtu, network_label, port_security, addresses, security_rules,
       allowed_address_pairs, apart, up, wires, vlan,
       host_addresses(network_id) AS host_addresses, floating_of(id) AS floating,
       (SELECT p.dns_name FROM ports p WHERE p.id = s.id) AS dns_name, (SELECT n.dns_domain FROM networks n WHERE n.id = network_id) AS dns_domain
FROM port_specs s WHERE bound_to = $1 ORDER BY position, id

-- hosts_beside --
-- The hosts that may have to know of a change: they have ports of one of the networks, or of one of the projects. $1 networks, $2 projects
SELECT DISTINCT host FROM ports WHERE host <> '' AND (network_id = ANY($1::uuid[]) OR project_id = ANY($2::text[]))

-- neighbors --
-- The ports of networks that are on other hosts. $1 networks, $2 the host that asks
SELECT p.network_id, n.vni, p.host, p.mac, p.port_security_enabled AS port_security, p.allowed_address_pairs, p.dns_name, n.wires <> '' AS wired,
       ARRAY(SELECT host(a.address) FROM addresses a WHERE a.port_id = p.id ORDER BY a.address) AS addresses
FROM ports p JOIN networks n ON n.id = p.network_id
WHERE p.network_id = ANY($1::uuid[]) AND p.host NOT IN ('', $2) ORDER BY p.network_id, p.mac

-- members --
-- The addresses of everything in security groups, and those that its ports may have besides. $1 groups
SELECT g.security_group_id AS id, array_agg(DISTINCT m.address) AS addresses
FROM port_security_groups g JOIN ports p ON p.id = g.port_id
CROSS JOIN LATERAL (
    SELECT host(a.address) AS address FROM addresses a WHERE a.port_id = p.id
    UNION SELECT pair->>'ip_address' FROM jsonb_array_elements(p.allowed_address_pairs) pair
) m
WHERE g.security_group_id = ANY($1::uuid[]) GROUP BY 1 ORDER BY 1

-- strangers --
-- Addresses of members of groups (members) that are in the range of another network, in which no member has them. $1 groups, $2 networks
WITH members AS (
    SELECT g.security_group_id AS id, p.network_id, n.apart, m.address
    FROM port_security_groups g JOIN ports p ON p.id = g.port_id JOIN networks n ON n.id = p.network_id
    CROSS JOIN LATERAL (
        SELECT host(a.address) AS address FROM addresses a WHERE a.port_id = p.id
        UNION SELECT pair->>'ip_address' FROM jsonb_array_elements(p.allowed_address_pairs) pair
    ) m
    WHERE g.security_group_id = ANY($1::uuid[])
)
SELECT n.id AS network_id, m.id, array_agg(DISTINCT m.address) AS addresses
FROM networks n JOIN members m ON m.network_id <> n.id AND (m.apart OR n.apart)
WHERE n.id = ANY($2::uuid[]) AND EXISTS (SELECT FROM subnets s WHERE s.network_id = n.id AND s.cidr && m.address::inet)
  AND NOT EXISTS (SELECT FROM members o WHERE (o.id, o.network_id, o.address) = (m.id, n.id, m.address))
GROUP BY 1, 2 ORDER BY 1, 2

-- group_names --
-- Names of the groups on a server's ports. $1 server
SELECT DISTINCT g.name FROM ports p JOIN port_security_groups b ON b.port_id = p.id JOIN security_groups g ON g.id = b.security_group_id
WHERE p.bound_to = $1 ORDER BY g.name

-- ports --
-- A project's ports, or all.
-- $1 project, null for all; $2 ids or null; $3 names or null; $4 the id after which to start, or null; $5 how many, or null;
-- $6 networks or null; $7 devices or null
SELECT p.id, p.network_id, p.project_id, p.name, p.description, p.admin_state_up, p.port_security_enabled, p.mac, p.device_id,
       p.device_owner, p.host, p.dns_name, p.allowed_address_pairs, p.profile, p.tags, p.revision, p.created_at, p.updated_at,
       p.admin_state_up AND n.admin_state_up AS up, n.dns_domain,
       COALESCE((SELECT jsonb_agg(jsonb_build_object('subnet_id', a.subnet_id, 'ip_address', host(a.address)) ORDER BY a.address)
                 FROM addresses a WHERE a.port_id = p.id), '[]') AS fixed_ips,
       ARRAY(SELECT g.security_group_id FROM port_security_groups g WHERE g.port_id = p.id ORDER BY 1) AS security_groups
FROM ports p JOIN networks n ON n.id = p.network_id
WHERE ($1::text IS NULL OR p.project_id = $1)
  AND ($2::uuid[] IS NULL OR p.id = ANY($2)) AND ($3::text[] IS NULL OR p.name = ANY($3)) AND ($4::uuid IS NULL OR p.id > $4)
  AND ($6::uuid[] IS NULL OR p.network_id = ANY($6)) AND ($7::text[] IS NULL OR p.device_id = ANY($7))
ORDER BY p.id LIMIT $5::integer

-- insert_port --
-- $1 id, $2 network, $3 project, $4 name, $5 description, $6 up, $7 port security, $8 MAC or null for one made from $9, $9 seed,
-- $10 device, $11 device owner, $12 host, $13 DNS name, $14 address pairs, $15 profile
INSERT INTO ports (id, network_id, project_id, name, description, admin_state_up, port_security_enabled, mac, device_id, device_owner, host,
                   dns_name, allowed_address_pairs, profile)
VALUES ($1, $2, $3, $4, $5, $6, $7, COALESCE($8, mac_of($9)), $10, $11, $12, $13, $14, $15)

-- update_port --
-- $1 id, $2 name, $3 description, $4 up, $5 port security, $6 MAC, $7 device, $8 device owner, $9 host, $10 DNS name, $11 address pairs,
-- $12 profile
WITH ready AS (DELETE FROM port_bindings WHERE port_id = $1 AND host = $9)
UPDATE ports SET name = $2, description = $3, admin_state_up = $4, port_security_enabled = $5, mac = $6, device_id = $7,
       device_owner = $8, host = $9, dns_name = $10, allowed_address_pairs = $11, profile = $12, revision = revision + 1, updated_at = now()
WHERE id = $1

-- delete_port --
-- $1 id
DELETE FROM ports WHERE id = $1

-- tag_port --
-- $1 id, $2 tags
UPDATE ports SET tags = $2::text[], revision = revision + 1, updated_at = now() WHERE id = $1

-- give_addresses --
-- $1 port, $2 network, $3 wishes [{ip_address, subnet_id}] or null for one of each version, $4 seed
SELECT take_addresses($1, $2, $3, $4)::text AS done

-- drop_addresses --
-- All but those to be kept. $1 port, $2 addresses to keep
DELETE FROM addresses WHERE port_id = $1 AND address <> ALL($2::text[]::inet[])

-- put_into_groups --
-- $1 port, $2 groups
WITH gone AS (DELETE FROM port_security_groups WHERE port_id = $1 AND security_group_id <> ALL($2::uuid[]))
INSERT INTO port_security_groups SELECT $1, g FROM unnest($2::uuid[]) g ON CONFLICT DO NOTHING
