-- subnet_pools --
-- Those that a project may take from, or all.
-- $1 project, null for all; $2 ids or null; $3 names or null; $4 the id after which to start, or null; $5 how many, or null
SELECT p.id, p.project_id, p.name, p.description, p.prefixes::text[] AS prefixes, p.ip_version, p.default_prefix, p.min_prefix,
       p.max_prefix, p.default_quota, p.shared, p.is_default, p.tags, p.revision, p.created_at, p.updated_at
FROM subnet_pools p
WHERE ($1::text IS NULL OR p.project_id = $1 OR p.shared)
  AND ($2::uuid[] IS NULL OR p.id = ANY($2)) AND ($3::text[] IS NULL OR p.name = ANY($3)) AND ($4::uuid IS NULL OR p.id > $4)
ORDER BY p.id LIMIT $5::integer

-- insert_subnet_pool --
-- $1 id, $2 project, $3 name, $4 description, $5 prefixes, $6 IP version, $7 default, $8 least and $9 greatest length, $10 quota or null,
-- $11 shared, $12 default
INSERT INTO subnet_pools (id, project_id, name, description, prefixes, ip_version, default_prefix, min_prefix, max_prefix, default_quota,
                          shared, is_default)
VALUES ($1, $2, $3, $4, $5::text[]::cidr[], $6, $7, $8, $9, $10, $11, $12)

-- update_subnet_pool --
-- $1 id, $2 name, $3 description, $4 prefixes, $5 default, $6 least and $7 greatest length, $8 quota or null, $9 default
UPDATE subnet_pools SET name = $2, description = $3, prefixes = $4::text[]::cidr[], default_prefix = $5, min_prefix = $6, max_prefix = $7,
       default_quota = $8, is_default = $9, revision = revision + 1, updated_at = now()
WHERE id = $1

-- delete_subnet_pool --
-- $1 id
DELETE FROM subnet_pools WHERE id = $1

-- tag_subnet_pool --
-- $1 id, $2 tags
UPDATE subnet_pools SET tags = $2::text[], revision = revision + 1, updated_at = now() WHERE id = $1

-- default_pool --
-- $1 IP version
SELECT p.id FROM subnet_pools p WHERE p.is_default AND p.ip_version = $1

-- allocated --
-- What was taken from a pool. $1 pool
SELECT s.project_id, s.cidr::text AS cidr FROM subnets s WHERE s.subnet_pool = $1 ORDER BY s.cidr
