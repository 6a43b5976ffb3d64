-- list --
-- The flavors that a project may see. $1: public (true: public ones and those granted to the project, false: the others,
-- NULL: all). $2: the project. $3, $4: least MiB of memory and GiB of disk, or NULL. $5: also disabled ones.
-- $6: a regular expression that the name must match, or NULL.
SELECT f.id, f.flavorid, f.name, f.memory_mb, f.vcpus, f.root_gb, f.ephemeral_gb, f.swap, f.rxtx_factor, f.is_public, f.disabled,
       f.description, f.extra_specs, f.created_at, f.updated_at
FROM flavors f
WHERE ($1::boolean IS NULL OR f.is_public = $1
       OR ($1 AND EXISTS (SELECT FROM flavor_access a WHERE a.flavor_id = f.id AND a.project_id = $2)))
  AND ($3::bigint IS NULL OR f.memory_mb >= $3)
  AND ($4::bigint IS NULL OR f.root_gb >= $4)
  AND ($5::boolean OR NOT f.disabled)
  AND ($6::text IS NULL OR f.name ~ $6)

-- get --
-- One flavor. $1: its flavorid. $2: the project that asks; $3: whether it sees private flavors of others too.
SELECT f.id, f.flavorid, f.name, f.memory_mb, f.vcpus, f.root_gb, f.ephemeral_gb, f.swap, f.rxtx_factor, f.is_public, f.disabled,
       f.description, f.extra_specs, f.created_at, f.updated_at
FROM flavors f
WHERE f.flavorid = $1
  AND ($3::boolean OR f.is_public OR EXISTS (SELECT FROM flavor_access a WHERE a.flavor_id = f.id AND a.project_id = $2))

-- insert --
-- A new flavor. $1: flavorid, $2: name, $3: MiB of memory, $4: vcpus, $5: GiB of root disk, $6: GiB of ephemeral disk,
-- $7: MiB of swap, $8: rxtx_factor, $9: is_public, $10: description.
INSERT INTO flavors (flavorid, name, memory_mb, vcpus, root_gb, ephemeral_gb, swap, rxtx_factor, is_public, description)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
RETURNING id, flavorid, name, memory_mb, vcpus, root_gb, ephemeral_gb, swap, rxtx_factor, is_public, disabled,
          description, extra_specs, created_at, updated_at

-- describe --
-- Change the description. $1: flavorid, $2: the new description or NULL.
UPDATE flavors SET description = $2, updated_at = now() WHERE flavorid = $1
RETURNING id, flavorid, name, memory_mb, vcpus, root_gb, ephemeral_gb, swap, rxtx_factor, is_public, disabled,
          description, extra_specs, created_at, updated_at

-- delete --
-- $1: flavorid. Servers keep what their flavor was.
DELETE FROM flavors WHERE flavorid = $1

-- put_extra_specs --
-- Add extra specs, or change them. $1: the flavor's number, $2: name -> value
UPDATE flavors SET extra_specs = extra_specs || $2::jsonb, updated_at = now() WHERE id = $1

-- remove_extra_spec --
-- $1: the flavor's number, $2: the name of the extra spec
UPDATE flavors SET extra_specs = extra_specs - $2::text, updated_at = now() WHERE id = $1 AND extra_specs ? $2

-- access --
-- The projects that may use a private flavor. $1: the flavor's number
SELECT project_id FROM flavor_access WHERE flavor_id = $1 ORDER BY project_id

-- grant --
-- Let a project use a flavor. $1: the flavor's number, $2: the project
INSERT INTO flavor_access (flavor_id, project_id) VALUES ($1, $2) ON CONFLICT DO NOTHING

-- revoke --
-- $1: the flavor's number, $2: the project
DELETE FROM flavor_access WHERE flavor_id = $1 AND project_id = $2
