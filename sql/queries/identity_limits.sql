-- registered_insert --
INSERT INTO identity_registered_limits (id, service_id, region_id, resource_name, default_limit, description)
VALUES ($1, $2, $3, $4, $5, $6)

-- registered_update --
UPDATE identity_registered_limits
SET service_id = $2, region_id = $3, resource_name = $4, default_limit = $5, description = $6 WHERE id = $1

-- registered_delete --
DELETE FROM identity_registered_limits WHERE id = $1

-- registered_show --
SELECT id, service_id, region_id, resource_name, default_limit, description FROM identity_registered_limits WHERE id = $1

-- registered_lock --
SELECT id, service_id, region_id, resource_name, default_limit, description FROM identity_registered_limits WHERE id = $1 FOR UPDATE

-- registered_find --
-- That of the service $1, the region $2 (NULL: of none) and the resource $3, which stays as it is until the transaction ends.
SELECT id, service_id, region_id, resource_name, default_limit, description FROM identity_registered_limits
WHERE service_id = $1 AND region_id IS NOT DISTINCT FROM $2 AND resource_name = $3 FOR SHARE

-- registered_list --
-- NULL leaves a filter out. $1 service, $2 region, $3 resource, $4 after this id, $5 at most
SELECT id, service_id, region_id, resource_name, default_limit, description FROM identity_registered_limits
WHERE ($1::text IS NULL OR service_id = $1) AND ($2::text IS NULL OR region_id = $2) AND ($3::text IS NULL OR resource_name = $3)
  AND ($4::text IS NULL OR id > $4)
ORDER BY id LIMIT $5

-- registered_is_used --
-- Whether there are limits in place of its default.
SELECT EXISTS (SELECT FROM identity_limits WHERE registered_limit_id = $1) AS used

-- limit_insert --
INSERT INTO identity_limits (id, registered_limit_id, project_id, domain_id, resource_limit, description) VALUES ($1, $2, $3, $4, $5, $6)

-- limit_update --
UPDATE identity_limits SET resource_limit = $2, description = $3 WHERE id = $1

-- limit_delete --
DELETE FROM identity_limits WHERE id = $1

-- limit_show --
SELECT l.id, l.project_id, l.domain_id, r.service_id, r.region_id, r.resource_name, l.resource_limit, l.description
FROM identity_limits l JOIN identity_registered_limits r ON r.id = l.registered_limit_id WHERE l.id = $1

-- limit_lock --
SELECT l.id, l.project_id, l.domain_id, r.service_id, r.region_id, r.resource_name, l.resource_limit, l.description
FROM identity_limits l JOIN identity_registered_limits r ON r.id = l.registered_limit_id WHERE l.id = $1 FOR UPDATE OF l

-- limit_list --
-- NULL leaves a filter out. $1 service, $2 region, $3 resource, $4 project, $5 domain, $6 the domain and all its projects,
-- $7 after this id, $8 at most
SELECT l.id, l.project_id, l.domain_id, r.service_id, r.region_id, r.resource_name, l.resource_limit, l.description
FROM identity_limits l JOIN identity_registered_limits r ON r.id = l.registered_limit_id
WHERE ($1::text IS NULL OR r.service_id = $1) AND ($2::text IS NULL OR r.region_id = $2) AND ($3::text IS NULL OR r.resource_name = $3)
  AND ($4::text IS NULL OR l.project_id = $4) AND ($5::text IS NULL OR l.domain_id = $5)
  AND ($6::text IS NULL OR l.domain_id = $6
       OR EXISTS (SELECT FROM identity_projects p WHERE p.id = l.project_id AND p.domain_id = $6))
  AND ($7::text IS NULL OR l.id > $7)
ORDER BY l.id LIMIT $8
