-- all --
-- By name. $1 ids or null
SELECT q.id, q.name, q.consumer, q.specs FROM volume_qos_specs q WHERE $1::uuid[] IS NULL OR q.id = ANY ($1) ORDER BY q.name

-- insert --
-- $1 id, $2 name, $3 consumer, $4 specs
INSERT INTO volume_qos_specs (id, name, consumer, specs) VALUES ($1, $2, $3, $4)

-- lock --
-- $1 id
SELECT q.id, q.name, q.consumer, q.specs FROM volume_qos_specs q WHERE q.id = $1 FOR UPDATE

-- change --
-- $1 id, $2 consumer, $3 specs
UPDATE volume_qos_specs SET consumer = $2, specs = $3 WHERE id = $1

-- delete --
-- $1 id
DELETE FROM volume_qos_specs WHERE id = $1

-- types --
-- Those that have it. $1 id
SELECT t.id, t.name FROM volume_types t WHERE t.qos_specs_id = $1 ORDER BY t.name

-- associate --
-- $1 type, $2 id or null
UPDATE volume_types SET qos_specs_id = $2, updated_at = now() WHERE id = $1

-- disassociate_all --
-- $1 id
UPDATE volume_types SET qos_specs_id = NULL, updated_at = now() WHERE qos_specs_id = $1

-- of_type --
-- $1 type
SELECT q.id, q.name, q.consumer, q.specs FROM volume_qos_specs q JOIN volume_types t ON t.qos_specs_id = q.id WHERE t.id = $1
