-- The ports by which hosts answer routed networks are their subnets' owners'.

UPDATE ports p SET project_id = s.project_id, device_id = 'dhcp-' || p.network_id FROM addresses a JOIN subnets s ON s.id = a.subnet_id
WHERE a.port_id = p.id AND p.device_owner = 'network:dhcp' AND p.project_id = '';
