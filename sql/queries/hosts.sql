-- all --
-- Every host with its inventory (resource class -> [total, reserved, ratio, used]), how much it does, the ids of its aggregates, and what
-- its guests were given of its cells and devices.
-- $1 only these names (NULL: all)
WITH busy AS (
    SELECT s.host, count(*) AS operations FROM workflows w JOIN instances s ON s.uuid = w.subject_id
    WHERE w.state IN ('running', 'waiting', 'undoing') AND s.host IS NOT NULL
      AND w.kind IN ('create', 'resize', 'migrate', 'revertResize', 'live-migration', 'evacuate', 'rebuild', 'rescue', 'createImage',
                     'createBackup', 'shelve', 'unshelve')
    GROUP BY s.host
)
SELECT h.id, h.name, h.number, h.service_id, h.address, h.availability_zone, h.disabled, h.disabled_reason, h.forced_down, h.facts, h.traits,
       h.failed_builds, h.created_at, h.updated_at,
       coalesce((SELECT jsonb_object_agg(i.resource_class, jsonb_build_array(i.total, i.reserved, i.allocation_ratio, i.used))
                 FROM inventories i WHERE i.host_id = h.id), '{}') AS inventory,
       (SELECT count(*) FROM instances s WHERE s.host = h.name AND NOT s.deleted) AS instances,
       coalesce(b.operations, 0) AS operations,
       ARRAY(SELECT m.aggregate_id FROM aggregate_hosts m WHERE m.host = h.name ORDER BY m.aggregate_id) AS aggregates,
       coalesce((SELECT jsonb_agg(t.fit) FROM topologies t WHERE t.host_id = h.id), '[]') AS fits
FROM hosts h LEFT JOIN busy b ON b.host = h.name
WHERE $1::text[] IS NULL OR h.name = ANY ($1)
ORDER BY h.name

-- with_room --
-- The hosts that have room for all of it now. $1 resource classes, $2 amounts
SELECT h.name FROM hosts h JOIN inventories i ON i.host_id = h.id
JOIN unnest($1::text[], $2::bigint[]) AS wanted (class, amount) ON wanted.class = i.resource_class
WHERE i.used + wanted.amount <= floor((i.total - i.reserved) * i.allocation_ratio) AND wanted.amount <= i.total
GROUP BY h.name HAVING count(*) = cardinality($1)

-- identity --
-- Who holds a host name, and what is known under an id. $1 name, $2 id
SELECT id, name FROM hosts WHERE name = $1 OR id = $2

-- put --
-- A host tells what it is. $1 id, $2 name, $3 service id when it is new, $4 address, $5 its own zone, $6 facts, $7 traits
INSERT INTO hosts (id, name, service_id, address, availability_zone, own_zone, facts, traits)
VALUES ($1, $2, $3, $4, $5, $5, $6, $7)
ON CONFLICT (id) DO UPDATE SET name = $2, address = $4, own_zone = $5, facts = $6, traits = $7, updated_at = now()

-- put_inventory --
-- What it has. $1 host, $2 resource classes, $3 totals, $4 reserved, $5 ratios
WITH told AS (
    SELECT * FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::double precision[]) AS t (resource_class, total, reserved, ratio)
), gone AS (
    DELETE FROM inventories WHERE host_id = $1 AND resource_class <> ALL ($2) AND used = 0
)
INSERT INTO inventories (host_id, resource_class, total, reserved, allocation_ratio)
SELECT $1, resource_class, total, reserved, ratio FROM told
ON CONFLICT (host_id, resource_class) DO UPDATE
SET total = excluded.total, reserved = excluded.reserved, allocation_ratio = excluded.allocation_ratio

-- set_service --
-- An operator's word. $1 service id, $2 disabled, $3 reason, $4 forced down (NULL leaves a value as it is)
UPDATE hosts SET disabled = coalesce($2, disabled),
    disabled_reason = CASE WHEN $2 IS NULL THEN disabled_reason WHEN $2 THEN $3 END,
    forced_down = coalesce($4, forced_down), updated_at = now()
WHERE service_id = $1

-- delete --
-- Forget a host that holds nothing. $1 service id
DELETE FROM hosts h WHERE h.service_id = $1 AND NOT EXISTS (SELECT FROM allocations a WHERE a.host_id = h.id)
  AND NOT EXISTS (SELECT FROM topologies t WHERE t.host_id = h.id)

-- count_failed_build --
-- A build failed ($2 true) or succeeded there; returns the count. $1 host id
UPDATE hosts SET failed_builds = CASE WHEN $2 THEN failed_builds + 1 ELSE 0 END WHERE id = $1 RETURNING failed_builds

-- processes --
-- The application's own processes; up are those that were heard of within the last $1 seconds.
SELECT p.*, p.seen_at > now() - make_interval(secs => $1) AS up FROM processes p ORDER BY p.number

-- put_process --
-- A process tells that it lives. $1 id, $2 binary, $3 host
INSERT INTO processes (id, binary_name, host) VALUES ($1, $2, $3)
ON CONFLICT (binary_name, host) DO UPDATE SET seen_at = now()

-- set_process --
-- An operator's word on one of the application's processes. $1 id, $2 disabled, $3 reason
UPDATE processes SET disabled = $2, disabled_reason = CASE WHEN $2 THEN $3 END WHERE id = $1

-- delete_process --
-- Forget one. $1 id
DELETE FROM processes WHERE id = $1

-- servers --
-- The servers on hosts. $1: names of hosts
SELECT host, uuid, number FROM instances WHERE host = ANY ($1::text[]) AND NOT deleted ORDER BY number

-- of_service --
-- The name of the host whose worker a service is. $1: the service's id, or its number
SELECT name FROM hosts WHERE service_id::text = lower($1) OR number::text = $1

-- leave_aggregates --
-- A host is in no aggregate any more. $1: its name
DELETE FROM aggregate_hosts WHERE host = $1

-- services --
-- The workers, without what they have. $1: only on this host (NULL: on all)
SELECT number, name, service_id, availability_zone, disabled, disabled_reason, forced_down, updated_at
FROM hosts WHERE $1::text IS NULL OR name = $1 ORDER BY number

-- zones --
-- Every zone of hosts, and whether one of its hosts is enabled.
SELECT availability_zone AS name, bool_or(NOT disabled) IS TRUE AS available FROM hosts GROUP BY availability_zone ORDER BY availability_zone

-- hypervisors --
-- As all, oldest first. $1: only with a number above; $2: only with this in the hypervisor's name (NULL: any);
-- $3: only the one with this id or number (NULL: all); $4: at most (NULL: all)
SELECT h.id, h.name, h.number, h.service_id, h.address, h.availability_zone, h.disabled, h.disabled_reason, h.forced_down, h.facts, h.traits,
       h.failed_builds, h.created_at, h.updated_at,
       coalesce((SELECT jsonb_object_agg(i.resource_class, jsonb_build_array(i.total, i.reserved, i.allocation_ratio, i.used))
                 FROM inventories i WHERE i.host_id = h.id), '{}') AS inventory,
       (SELECT count(*) FROM instances s WHERE s.host = h.name AND NOT s.deleted) AS instances,
       0::bigint AS operations
FROM hosts h
WHERE h.number > $1
  AND ($2::text IS NULL OR strpos(lower(coalesce(nullif(h.facts ->> 'hypervisor_hostname', ''), h.name)), lower($2)) > 0)
  AND ($3::text IS NULL OR h.id::text = lower($3) OR h.number::text = $3)
ORDER BY h.number LIMIT $4::bigint

-- totals --
-- What all enabled hosts have, use (with what they keep for themselves) and run. Memory in MiB, disks in GiB.
WITH enabled AS (
    SELECT id, name, nullif((facts ->> 'disk_used_gib')::numeric, 0) AS disk_used FROM hosts WHERE NOT disabled
), held AS (
    SELECT i.resource_class, i.total, i.reserved + i.used AS used, e.disk_used FROM inventories i JOIN enabled e ON e.id = i.host_id
)
SELECT (SELECT count(*) FROM enabled) AS count,
       coalesce(sum(total) FILTER (WHERE resource_class = 'VCPU'), 0)::bigint AS vcpus,
       coalesce(sum(used) FILTER (WHERE resource_class = 'VCPU'), 0)::bigint AS vcpus_used,
       coalesce(sum(total) FILTER (WHERE resource_class = 'MEMORY_MB'), 0)::bigint AS memory_mb,
       coalesce(sum(used) FILTER (WHERE resource_class = 'MEMORY_MB'), 0)::bigint AS memory_mb_used,
       coalesce(sum(total) FILTER (WHERE resource_class = 'DISK_GB'), 0)::bigint AS local_gb,
       coalesce(sum(used) FILTER (WHERE resource_class = 'DISK_GB'), 0)::bigint AS local_gb_used,
       coalesce(sum(total - coalesce(disk_used, used)) FILTER (WHERE resource_class = 'DISK_GB'), 0)::bigint AS disk_available_least,
       (SELECT count(*) FROM instances s JOIN enabled e ON e.name = s.host WHERE NOT s.deleted) AS running_vms
FROM held

-- used_by_projects --
-- What the flavors of a host's servers add up to, by project. Memory in MiB, disks in GiB. $1: the host's name
SELECT project_id, sum(vcpus)::bigint AS vcpus, sum(memory_mb)::bigint AS memory_mb,
       sum(coalesce((flavor ->> 'root_gb')::bigint, 0) + coalesce((flavor ->> 'ephemeral_gb')::bigint, 0))::bigint AS disk_gb
FROM instances WHERE host = $1 AND NOT deleted GROUP BY project_id ORDER BY project_id
