-- all --
-- Aggregates with their hosts, oldest first. $1: only the one with this id (NULL: all)
SELECT a.id, a.uuid, a.name, a.metadata, a.created_at, a.updated_at,
       ARRAY(SELECT h.host FROM aggregate_hosts h WHERE h.aggregate_id = a.id ORDER BY h.host) AS hosts
FROM aggregates a WHERE $1::bigint IS NULL OR a.id = $1 ORDER BY a.id

-- labels --
-- Their names and metadata, as the scheduler keeps them.
SELECT id, name, metadata FROM aggregates

-- serialize --
-- One change at a time until the end of the transaction: zones of hosts follow from all aggregates together.
SELECT pg_advisory_xact_lock(hashtextextended('aggregates', 0)) IS NOT NULL

-- insert --
-- $1: uuid, $2: name, $3: metadata. No row: the name is taken.
INSERT INTO aggregates (uuid, name, metadata) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING RETURNING id

-- rename --
-- $1: id, $2: name
UPDATE aggregates SET name = $2, updated_at = now()
WHERE id = $1 AND NOT EXISTS (SELECT FROM aggregates o WHERE o.name = $2 AND o.id <> $1)

-- set_metadata --
-- Add to the metadata; keys whose value is null go. $1: id, $2: keys and values
UPDATE aggregates SET metadata = jsonb_strip_nulls(metadata || $2::jsonb), updated_at = now() WHERE id = $1

-- delete --
-- $1: id
DELETE FROM aggregates WHERE id = $1

-- add_host --
-- $1: id, $2: the host's name. No row: it is there already.
INSERT INTO aggregate_hosts (aggregate_id, host) VALUES ($1, $2) ON CONFLICT DO NOTHING

-- remove_host --
-- $1: id, $2: the host's name
DELETE FROM aggregate_hosts WHERE aggregate_id = $1 AND host = $2

-- standing --
-- What is decided by when hosts change zones: each host, the zones that other aggregates than $2 give it, and how many servers it holds.
-- $1: names of hosts, $2: id
SELECT h.name, h.availability_zone, h.own_zone,
       ARRAY(SELECT DISTINCT a.metadata ->> 'availability_zone' FROM aggregates a JOIN aggregate_hosts m ON m.aggregate_id = a.id
             WHERE m.host = h.name AND a.id <> $2 AND a.metadata ? 'availability_zone') AS other_zones,
       (SELECT count(*) FROM instances i WHERE i.host = h.name AND NOT i.deleted) AS servers
FROM hosts h WHERE h.name = ANY ($1::text[]) ORDER BY h.name

-- set_zones --
-- Write the zones that follow from aggregates to hosts. $1: names of hosts
UPDATE hosts h SET availability_zone = w.zone
FROM (SELECT o.name, coalesce((SELECT min(a.metadata ->> 'availability_zone') FROM aggregates a JOIN aggregate_hosts m ON m.aggregate_id = a.id
                               WHERE m.host = o.name), o.own_zone) AS zone
      FROM hosts o WHERE o.name = ANY ($1::text[])) AS w
WHERE h.name = w.name AND h.availability_zone <> w.zone
