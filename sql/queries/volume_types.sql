-- ensure_default --
-- The type that a new deployment starts with. $1 id, $2 name
INSERT INTO volume_types (id, name, description, is_default) VALUES ($1, $2, 'Raw files', true) ON CONFLICT DO NOTHING

-- types --
-- By name. $1 project that asks, or null for all; $2 ids or null; $3 names or null
SELECT t.id, t.name, t.description, t.is_public, t.is_default, t.extra_specs, t.projects, t.qos_specs_id
FROM volume_types t
WHERE ($1::text IS NULL OR t.is_public OR $1 = ANY (t.projects)) AND ($2::uuid[] IS NULL OR t.id = ANY ($2))
  AND ($3::text[] IS NULL OR t.name = ANY ($3))
ORDER BY t.is_default DESC, t.name

-- insert_type --
-- $1 id, $2 name, $3 description, $4 public, $5 extra specs
INSERT INTO volume_types (id, name, description, is_public, extra_specs) VALUES ($1, $2, $3, $4, $5)

-- change_type --
-- $1 id, $2 name, $3 description, $4 public, $5 extra specs, $6 projects
UPDATE volume_types SET name = $2, description = $3, is_public = $4, extra_specs = $5, projects = $6::text[], updated_at = now()
WHERE id = $1

-- delete_type --
-- With the limits for it. $1 id
WITH limits AS (
    DELETE FROM volume_quotas WHERE resource LIKE '%\_' || $1::uuid
)
DELETE FROM volume_types WHERE id = $1

-- encryption --
-- $1 type
SELECT e.type_id, e.id, e.provider, e.control_location, e.cipher, e.key_size, e.created_at, e.updated_at
FROM volume_type_encryptions e WHERE e.type_id = $1

-- put_encryption --
-- $1 type, $2 id, $3 provider, $4 control location, $5 cipher or null, $6 bits of the key or null, $7 when it was made, $8 or changed, or null
INSERT INTO volume_type_encryptions (type_id, id, provider, control_location, cipher, key_size, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (type_id) DO UPDATE SET provider = $3, control_location = $4, cipher = $5, key_size = $6, updated_at = $8

-- delete_encryption --
-- $1 type
DELETE FROM volume_type_encryptions WHERE type_id = $1

-- is_used --
-- Whether there are volumes of a type, of which none is made until the transaction ends. $1 id
SELECT EXISTS (SELECT FROM volumes v WHERE v.type_id = t.id) FROM volume_types t WHERE t.id = $1 FOR UPDATE OF t

-- quotas --
-- Limits that somebody set. $1 project or class
SELECT q.resource, q.hard_limit FROM volume_quotas q WHERE q.project_id = $1

-- set_quota --
-- $1 project or class, $2 resource, $3 limit
INSERT INTO volume_quotas (project_id, resource, hard_limit) VALUES ($1, $2, $3)
ON CONFLICT (project_id, resource) DO UPDATE SET hard_limit = excluded.hard_limit

-- delete_quotas --
-- $1 project
DELETE FROM volume_quotas WHERE project_id = $1

-- insert_message --
-- $1 id, $2 project, $3 request, $4 kind of resource, $5 its id, $6 event, $7 text
INSERT INTO volume_messages (id, project_id, request_id, resource_type, resource_id, event, message)
VALUES ($1, $2, $3, $4, $5, $6, $7)

-- messages --
-- Newest first, at most 1000. $1 project; $2 id or null
SELECT m.id, m.project_id, m.request_id, m.resource_type, m.resource_id, m.event, m.message, m.created_at
FROM volume_messages m WHERE m.project_id = $1 AND ($2::uuid IS NULL OR m.id = $2)
ORDER BY m.created_at DESC, m.id LIMIT 1000

-- delete_message --
-- $1 project, $2 id
DELETE FROM volume_messages WHERE project_id = $1 AND id = $2

-- expire_messages --
-- $1 days
DELETE FROM volume_messages WHERE created_at < now() - make_interval(days => $1::integer)
