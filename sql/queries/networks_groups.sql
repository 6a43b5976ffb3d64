-- default_group --
-- The project's default group, made when it is missing. $1 project
SELECT default_group($1) AS id

-- groups --
-- A project's groups, or all.
-- $1 project, null for all; $2 ids or null; $3 names or null; $4 the id after which to start, or null; $5 how many, or null
SELECT g.id, g.project_id, g.name, g.description, g.stateful, g.is_default, g.tags, g.revision, g.created_at, g.updated_at,
       COALESCE((SELECT jsonb_agg(jsonb_build_object(
           'id', r.id, 'security_group_id', r.security_group_id, 'project_id', r.project_id, 'direction', r.direction,
           'ethertype', r.ethertype, 'protocol', r.protocol, 'port_range_min', r.port_range_min, 'port_range_max', r.port_range_max,
           'remote_ip_prefix', COALESCE(r.remote_ip_given, r.remote_ip_prefix::text), 'normalized_cidr', r.remote_ip_prefix,
           'remote_group_id', r.remote_group_id, 'description', r.description, 'revision', r.revision, 'created_at', r.created_at) ORDER BY r.created_at, r.id)
           FROM security_group_rules r WHERE r.security_group_id = g.id), '[]') AS rules
FROM security_groups g
WHERE ($1::text IS NULL OR g.project_id = $1)
  AND ($2::uuid[] IS NULL OR g.id = ANY($2)) AND ($3::text[] IS NULL OR g.name = ANY($3)) AND ($4::uuid IS NULL OR g.id > $4)
ORDER BY g.id LIMIT $5::integer

-- insert_group --
-- With Neutron's two rules that let everything out. $1 id, $2 project, $3 name, $4 description, $5 stateful, $6 and $7 ids of the rules
WITH made AS (
    INSERT INTO security_groups (id, project_id, name, description, stateful) VALUES ($1, $2, $3, $4, $5) RETURNING id, project_id
)
INSERT INTO security_group_rules (id, security_group_id, project_id, direction, ethertype)
SELECT v.rule, made.id, made.project_id, 'egress', v.version FROM made, (VALUES ($6::uuid, 'IPv4'), ($7::uuid, 'IPv6')) AS v(rule, version)

-- update_group --
-- $1 id, $2 name, $3 description, $4 stateful
UPDATE security_groups SET name = $2, description = $3, stateful = $4, revision = revision + 1, updated_at = now() WHERE id = $1

-- delete_group --
-- $1 id
DELETE FROM security_groups WHERE id = $1

-- tag_group --
-- $1 id, $2 tags
UPDATE security_groups SET tags = $2::text[], revision = revision + 1, updated_at = now() WHERE id = $1

-- rules --
-- A project's rules, or all. Parameters as in groups (rules have no name); $6 ids of groups, or null
SELECT r.id, r.security_group_id, r.project_id, r.direction, r.ethertype, r.protocol, r.port_range_min, r.port_range_max,
       COALESCE(r.remote_ip_given, r.remote_ip_prefix::text) AS remote_ip_prefix, r.remote_ip_prefix::text AS normalized_cidr,
       r.remote_group_id, r.description, r.revision, r.created_at
FROM security_group_rules r
WHERE ($1::text IS NULL OR r.project_id = $1) AND ($2::uuid[] IS NULL OR r.id = ANY($2)) AND $3::text[] IS NULL
  AND ($4::uuid IS NULL OR r.id > $4) AND ($6::uuid[] IS NULL OR r.security_group_id = ANY($6))
ORDER BY r.id LIMIT $5::integer

-- insert_rule --
-- $1 id, $2 group, $3 project, $4 direction, $5 ethertype, $6 protocol, $7 and $8 port range, $9 remote prefix, $10 remote group,
-- $11 description
INSERT INTO security_group_rules (id, security_group_id, project_id, direction, ethertype, protocol, port_range_min, port_range_max,
                                  remote_ip_prefix, remote_ip_given, remote_group_id, description)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::text::inet::cidr, $9, $10, $11)

-- delete_rule --
-- $1 id
DELETE FROM security_group_rules WHERE id = $1

-- servers_behind --
-- The servers that rules of a group apply to, or that its rules speak of. $1 group
SELECT DISTINCT p.bound_to FROM ports p JOIN port_security_groups b ON b.port_id = p.id
WHERE p.bound_to <> '' AND (b.security_group_id = $1 OR b.security_group_id IN
    (SELECT r.security_group_id FROM security_group_rules r WHERE r.remote_group_id = $1))
