-- IPv6 as Neutron has it: who tells guests of their network, and how they come by addresses. Allowed address pairs reach hosts.
ALTER TABLE subnets
    ADD COLUMN ipv6_ra_mode text CHECK (ipv6_ra_mode IN ('slaac', 'dhcpv6-stateful', 'dhcpv6-stateless')),
    ADD COLUMN ipv6_address_mode text CHECK (ipv6_address_mode IN ('slaac', 'dhcpv6-stateful', 'dhcpv6-stateless'));

CREATE OR REPLACE VIEW port_specs AS
SELECT p.id, p.network_id, p.project_id, p.mac, p.bound_to, p.host, p.position, p.tag, n.mtu, n.name AS network_label,
       p.port_security_enabled AS port_security,
       COALESCE((
           SELECT jsonb_agg(jsonb_build_object(
               'address', host(a.address), 'subnet_id', s.id, 'cidr', s.cidr, 'version', family(s.cidr), 'gateway', host(s.gateway),
               'routes', s.host_routes, 'dns_servers', to_jsonb(s.dns_servers), 'dhcp', s.enable_dhcp,
               'ra_mode', s.ipv6_ra_mode, 'address_mode', s.ipv6_address_mode) ORDER BY family(s.cidr), a.address)
           FROM addresses a JOIN subnets s ON s.id = a.subnet_id WHERE a.port_id = p.id), '[]') AS addresses,
       COALESCE((
           SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
               'group', r.security_group_id, 'direction', r.direction, 'ethertype', r.ethertype, 'protocol', r.protocol,
               'port_range_min', r.port_range_min, 'port_range_max', r.port_range_max, 'remote_ip_prefix', r.remote_ip_prefix,
               'remote_group', r.remote_group_id)) ORDER BY r.created_at, r.id)
           FROM port_security_groups g JOIN security_group_rules r ON r.security_group_id = g.security_group_id
           WHERE g.port_id = p.id), '[]') AS security_rules,
       p.allowed_address_pairs
FROM ports p JOIN networks n ON n.id = p.network_id;

-- The address that a guest makes of its MAC (RFC 4291, appendix A), inside a /64.
CREATE FUNCTION eui64(range cidr, mac text) RETURNS inet LANGUAGE sql IMMUTABLE AS $$
    SELECT host(network(range)::inet
        | ('::' || to_hex(get_byte(o, 0) # 2) || lpad(to_hex(get_byte(o, 1)), 2, '0') || ':' || to_hex(get_byte(o, 2)) || 'ff:fe'
           || lpad(to_hex(get_byte(o, 3)), 2, '0') || ':' || to_hex(get_byte(o, 4)) || lpad(to_hex(get_byte(o, 5)), 2, '0'))::inet)::inet
    FROM decode(replace(mac, ':', ''), 'hex') AS o
$$;

-- As before; where guests make their addresses themselves, a port has the one that it will make.
CREATE OR REPLACE FUNCTION take_address(port uuid, subnet subnets, wish inet, seed bigint) RETURNS inet LANGUAGE plpgsql AS $$
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
END $$;

-- As before, and one address of every subnet whose guests make theirs themselves.
CREATE OR REPLACE FUNCTION take_addresses(port uuid, network uuid, wishes jsonb, seed bigint) RETURNS void LANGUAGE plpgsql AS $$
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
END $$;
