-- Networks that are the operator's own beyond the hosts: flat ones, and VLANs (IEEE 802.1Q).

ALTER TABLE networks
    ADD COLUMN provider text NOT NULL DEFAULT 'vxlan' CHECK (provider IN ('vxlan', 'flat', 'vlan')),
    ADD COLUMN physical_network text,                  -- as hosts name it; null: VXLAN
    ADD COLUMN vlan integer;                           -- null: none
CREATE UNIQUE INDEX networks_physical_key ON networks (physical_network, COALESCE(vlan, 0)) WHERE physical_network IS NOT NULL;

-- What a host must have for the ports of a network: 'flat:' or 'vlan:' and a physical network; empty: nothing. An external network is
-- its bridge on the gateway host.
ALTER TABLE networks ADD COLUMN wires text NOT NULL GENERATED ALWAYS AS (
    CASE WHEN physical_network IS NULL OR external THEN '' ELSE provider || ':' || physical_network END) STORED;

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
       p.allowed_address_pairs, n.apart, p.admin_state_up AND n.admin_state_up AS up,
       n.wires, n.vlan
FROM ports p JOIN networks n ON n.id = p.network_id;
