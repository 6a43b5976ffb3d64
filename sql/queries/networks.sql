-- bootstrap --
-- The network that a new deployment starts with; leaves an existing one alone.
-- $1 network, $2 project, $3 name, $4 MTU, $5 subnet, $6 CIDR, $7 gateway, $8 pools, $9 DNS servers
WITH network AS (
    INSERT INTO networks (id, project_id, name, description, shared, mtu, bootstrap)
    VALUES ($1, $2, $3, 'Shared by all projects', true, $4, true) ON CONFLICT DO NOTHING RETURNING id
)
INSERT INTO subnets (id, network_id, project_id, name, cidr, gateway, pools, dns_servers)
SELECT $5, network.id, $2, $3 || '-subnet', $6::text::cidr, $7::text::inet, $8, $9::text[] FROM network
