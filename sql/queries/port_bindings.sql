-- of_port --
-- The active one first. $1 port
SELECT p.host, 'bridge' AS vif_type, p.profile, true AS active FROM ports p WHERE p.id = $1 AND p.host <> ''
UNION ALL
SELECT b.host, b.vif_type, b.profile, false FROM port_bindings b WHERE b.port_id = $1
ORDER BY active DESC, host

-- lock_port --
-- Others who bind it wait. $1 port
SELECT id FROM ports WHERE id = $1 FOR UPDATE

-- put --
-- An inactive one, made or changed. $1 port, $2 host, $3 kind of interface, $4 profile
INSERT INTO port_bindings (port_id, host, vif_type, profile) VALUES ($1, $2, $3, $4)
ON CONFLICT (port_id, host) DO UPDATE SET vif_type = $3, profile = $4

-- remove --
-- An inactive one. $1 port, $2 host
DELETE FROM port_bindings WHERE port_id = $1 AND host = $2
