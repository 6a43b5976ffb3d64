-- What is administratively down reaches hosts. Where a subnet has no gateway, they answer by the address of a port that no router needs.

ALTER TABLE router_ports ALTER COLUMN router_id DROP NOT NULL,
    ADD CONSTRAINT router_ports_without_router CHECK (router_id IS NOT NULL OR kind = 'host');

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
       p.allowed_address_pairs, n.apart, p.admin_state_up AND n.admin_state_up AS up
FROM ports p JOIN networks n ON n.id = p.network_id;
