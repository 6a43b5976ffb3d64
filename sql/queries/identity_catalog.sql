-- region_insert --
INSERT INTO identity_regions (id, description, parent_region_id, extra) VALUES ($1, $2, $3, $4)

-- region_update --
UPDATE identity_regions SET description = $2, parent_region_id = $3, extra = $4 WHERE id = $1

-- region_delete --
DELETE FROM identity_regions WHERE id = $1

-- region_show --
SELECT id, description, parent_region_id, extra FROM identity_regions WHERE id = $1

-- region_list --
-- Those under the region $1 unless NULL; $2 after this id or NULL, $3 at most
SELECT id, description, parent_region_id, extra FROM identity_regions
WHERE ($1::text IS NULL OR parent_region_id = $1) AND ($2::text IS NULL OR id > $2) ORDER BY id LIMIT $3

-- region_ensure --
INSERT INTO identity_regions (id) VALUES ($1) ON CONFLICT DO NOTHING

-- service_insert --
INSERT INTO identity_services (id, type, name, description, enabled, extra) VALUES ($1, $2, $3, $4, $5, $6)

-- service_update --
UPDATE identity_services SET type = $2, name = $3, description = $4, enabled = $5, extra = $6 WHERE id = $1

-- service_delete --
DELETE FROM identity_services WHERE id = $1

-- service_show --
SELECT id, type, name, description, enabled, extra FROM identity_services WHERE id = $1

-- service_list --
-- NULL leaves a filter out. $1 type, $2 name, $3 after this id, $4 at most
SELECT id, type, name, description, enabled, extra FROM identity_services
WHERE ($1::text IS NULL OR type = $1) AND ($2::text IS NULL OR name = $2) AND ($3::text IS NULL OR id > $3) ORDER BY id LIMIT $4

-- service_ensure --
INSERT INTO identity_services (id, type, name) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING

-- endpoint_insert --
INSERT INTO identity_endpoints (id, service_id, region_id, interface, url, enabled, extra) VALUES ($1, $2, $3, $4, $5, $6, $7)

-- endpoint_update --
UPDATE identity_endpoints SET service_id = $2, region_id = $3, interface = $4, url = $5, enabled = $6, extra = $7 WHERE id = $1

-- endpoint_delete --
DELETE FROM identity_endpoints WHERE id = $1

-- endpoint_show --
SELECT id, service_id, region_id, interface, url, enabled, extra FROM identity_endpoints WHERE id = $1

-- endpoint_list --
-- NULL leaves a filter out. $1 service, $2 interface, $3 region, $4 after this id, $5 at most
SELECT id, service_id, region_id, interface, url, enabled, extra FROM identity_endpoints
WHERE ($1::text IS NULL OR service_id = $1) AND ($2::text IS NULL OR interface = $2) AND ($3::text IS NULL OR region_id = $3)
  AND ($4::text IS NULL OR id > $4)
ORDER BY id LIMIT $5

-- endpoint_ensure --
-- $1 id, $2 service, $3 region, $4 interface, $5 url
INSERT INTO identity_endpoints (id, service_id, region_id, interface, url) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (id) DO UPDATE SET region_id = excluded.region_id, url = excluded.url
WHERE identity_endpoints.url <> excluded.url OR identity_endpoints.region_id IS DISTINCT FROM excluded.region_id

-- catalog --
-- Every enabled endpoint of every enabled service.
SELECT s.id AS service_id, s.type, s.name, e.id AS endpoint_id, e.interface, e.region_id, e.url
FROM identity_services s LEFT JOIN identity_endpoints e ON e.service_id = s.id AND e.enabled
WHERE s.enabled ORDER BY s.type, s.id, e.interface
