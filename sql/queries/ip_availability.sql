-- subnets --
-- Each subnet with how many of its addresses are taken, and networks that have none. $1 network, null for all
SELECT n.id AS network_id, n.name AS network_name, n.project_id, s.id AS subnet_id, s.name AS subnet_name, s.cidr::text AS cidr,
       family(s.cidr) AS ip_version, COALESCE(s.pools, '[]'::jsonb) AS pools,
       (SELECT count(*) FROM addresses a WHERE a.subnet_id = s.id) AS used
FROM networks n LEFT JOIN subnets s ON s.network_id = n.id
WHERE $1::uuid IS NULL OR n.id = $1
ORDER BY n.id, s.created_at, s.id
