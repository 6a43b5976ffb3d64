-- survey --
-- What a request for network cards is judged by, in one row of lists; makes the project's default group when it is missing.
-- $1 project, $2 whether the caller is an administrator, $3 ids of networks asked for, $4 ids of ports, $5 addresses asked for
SELECT
    default_group($1) AS default_group,
    COALESCE((
        SELECT jsonb_agg(jsonb_build_object('id', n.id, 'name', n.name, 'external', n.external, 'own', n.project_id = $1, 'shared', n.shared,
            'cidrs', (SELECT COALESCE(jsonb_agg(s.cidr), '[]') FROM subnets s WHERE s.network_id = n.id),
            'gateways', (SELECT COALESCE(jsonb_agg(host(s.gateway)), '[]') FROM subnets s WHERE s.network_id = n.id),
            'taken', (SELECT COALESCE(jsonb_agg(host(a.address)), '[]') FROM subnets s JOIN addresses a ON a.subnet_id = s.id
                      WHERE s.network_id = n.id AND a.address = ANY($5::text[]::inet[]))) ORDER BY n.created_at, n.id)
        FROM networks n WHERE n.project_id = $1 OR n.shared OR n.external AND n.id = ANY($3::uuid[]) OR $2 AND n.id = ANY($3::uuid[])), '[]'
    ) AS networks,
    COALESCE((
        SELECT jsonb_agg(jsonb_build_object('id', p.id, 'network_id', p.network_id, 'device_id', p.device_id,
            'addressed', EXISTS (SELECT FROM addresses a WHERE a.port_id = p.id)))
        FROM ports p WHERE p.id = ANY($4::uuid[]) AND (p.project_id = $1 OR $2)), '[]') AS ports,
    COALESCE((
        SELECT jsonb_agg(jsonb_build_object('id', g.id, 'name', g.name)) FROM security_groups g WHERE g.project_id = $1), '[]') AS groups

-- bind --
-- $1 server, $2 project, $3 device owner, $4 host, $5 host name of the server, $6 wishes (bind_ports), $7 names or ids of groups
SELECT id, network_id, mac, position, tag, mtu, network_label, port_security, addresses, security_rules
FROM bind_ports($1, $2, $3, $4, $5, $6, $7::text[])

-- unbind --
-- $1 server
WITH freed AS (
    UPDATE ports SET device_id = '', device_owner = '', host = '', tag = NULL, revision = revision + 1, updated_at = now()
    WHERE device_id = $1 AND made_for IS DISTINCT FROM $1
)
DELETE FROM ports WHERE made_for = $1

-- bound --
-- $1 server
SELECT id, network_id, mac, position, tag, mtu, network_label, port_security, addresses, security_rules
FROM port_specs WHERE device_id = $1 ORDER BY position, id

-- group_names --
-- Names of the groups on a server's ports. $1 server
SELECT DISTINCT g.name FROM ports p JOIN port_security_groups b ON b.port_id = p.id JOIN security_groups g ON g.id = b.security_group_id
WHERE p.device_id = $1 ORDER BY g.name
