-- What hosts must know of routers to serve a network's guests.

-- Subnet to the address by which hosts answer in it, where a router has the gateway's.
CREATE FUNCTION host_addresses(network uuid) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT COALESCE(jsonb_object_agg(a.subnet_id, host(a.address)), '{}')
    FROM router_ports b JOIN addresses a ON a.port_id = b.port_id WHERE b.network_id = network AND b.kind = 'host'
$$;

-- Address of a port to the floating IPs that lead to it.
CREATE FUNCTION floating_of(port uuid) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT COALESCE(jsonb_object_agg(fixed, floating), '{}') FROM (
        SELECT host(a.address) AS fixed, jsonb_agg(host(e.address) ORDER BY e.address) AS floating
        FROM addresses a JOIN floating_ips f ON (f.fixed_subnet, f.fixed_address) = (a.subnet_id, a.address)
        JOIN addresses e ON e.port_id = f.port_id WHERE a.port_id = port GROUP BY a.address) AS pairs
$$;

-- The external network that networks made by themselves are joined to.
ALTER TABLE networks ADD COLUMN is_default boolean NOT NULL DEFAULT false;
CREATE UNIQUE INDEX networks_one_default ON networks (is_default) WHERE is_default;
