-- place --
-- Claim the first candidate with room and move the server there, one placement further. No row: none has room.
-- $1 server, $2 placement (the generation it gets), $3 candidate host ids, $4 resource classes, $5 amounts
WITH claimed AS (
    SELECT claim($1, $2, $3::uuid[], $4::text[], $5::bigint[]) AS host_id
), moved AS (
    UPDATE instances i SET host_id = h.id, host = h.name, node = coalesce(h.facts ->> 'hypervisor_hostname', h.name),
        availability_zone = h.availability_zone, generation = $2, updated_at = now()
    FROM claimed c JOIN hosts h ON h.id = c.host_id
    WHERE i.uuid = $1
    RETURNING h.id AS host_id, h.name AS host, h.availability_zone
)
SELECT host_id, host, availability_zone FROM moved

-- unplace --
-- Give back what a server claimed up to a placement, and take it off its host if it is still there. $1 server, $2 placement
WITH freed AS (
    SELECT release($1, $2) AS amount
)
UPDATE instances SET host_id = NULL, host = NULL, node = NULL, updated_at = now()
FROM freed WHERE uuid = $1 AND generation <= $2

-- activate --
-- The guest runs. $1 server, $2 generation, $3 power state, $4 ports, $5 root device
UPDATE instances SET vm_state = 'active', power_state = $3, ports = $4, root_device_name = coalesce(root_device_name, $5), progress = 0,
    launched_at = coalesce(launched_at, now()), updated_at = now(), fault = NULL
WHERE uuid = $1 AND generation = $2 AND NOT deleted

-- set_state --
-- An operation ended. $1 server, $2 vm_state, $3 power state (NULL: as it is)
UPDATE instances SET vm_state = $2, power_state = coalesce($3, power_state), updated_at = now() WHERE uuid = $1 AND NOT deleted

-- set_error --
-- An operation failed and the server is broken. $1 server, $2 fault
UPDATE instances SET vm_state = 'error', fault = $2, updated_at = now() WHERE uuid = $1 AND NOT deleted

-- set_fault --
-- An operation failed and the server is as it was. $1 server, $2 fault
UPDATE instances SET fault = $2, updated_at = now() WHERE uuid = $1 AND NOT deleted

-- bury --
-- Nothing is left of the server but its row; what it claimed is given back, and it leaves its group. $1 server
WITH freed AS (
    SELECT release($1, 9223372036854775807) AS amount
), left_group AS (
    DELETE FROM server_group_members WHERE instance_id = $1
)
UPDATE instances SET vm_state = 'deleted', deleted = true, power_state = 0, ports = '[]', terminated_at = now(), updated_at = now(),
    user_data = NULL, injected_files = '[]', generation = generation + 1
FROM freed WHERE uuid = $1 AND NOT deleted

-- set_power --
-- What the hypervisor says of a guest. $1 server, $2 generation, $3 power state, $4 host
UPDATE instances SET power_state = $3, updated_at = now()
WHERE uuid = $1 AND generation = $2 AND host = $4 AND power_state <> $3 AND NOT deleted

-- on_host --
-- Every live server of a host, with its open operation. $1 host name
SELECT i.uuid, i.vm_state, i.power_state, i.generation, i.host, i.deleted, greatest(i.generation, i.newest_generation) AS newest,
       i.old_host, i.old_generation, EXISTS (
    SELECT FROM workflows w WHERE w.subject_id = i.uuid AND w.state IN ('queued', 'running', 'waiting', 'undoing')) AS busy
FROM instances i WHERE i.host = $1 AND NOT i.deleted

-- of --
-- Where these servers are, deleted or not. $1 ids
SELECT i.uuid, i.vm_state, i.power_state, i.generation, i.host, i.deleted, greatest(i.generation, i.newest_generation) AS newest,
       i.old_host, i.old_generation, EXISTS (
    SELECT FROM workflows w WHERE w.subject_id = i.uuid AND w.state IN ('queued', 'running', 'waiting', 'undoing')) AS busy
FROM instances i WHERE i.uuid = ANY ($1::uuid[])

-- leaked --
-- Claims of servers that are gone, or of other placements than theirs and the one that a resize left, that no open operation holds.
SELECT DISTINCT a.consumer_id, a.host_id, a.generation FROM allocations a
LEFT JOIN instances i ON i.uuid = a.consumer_id
WHERE (i.uuid IS NULL OR i.deleted OR i.host_id IS NULL
       OR (a.generation <> i.generation AND a.generation IS DISTINCT FROM i.old_generation))
  AND NOT EXISTS (SELECT FROM workflows w WHERE w.subject_id = a.consumer_id AND w.state IN ('queued', 'running', 'waiting', 'undoing'))

-- release --
-- Give back what a server claimed up to a placement. $1 server, $2 placement
SELECT release($1, $2)

-- stuck --
-- Servers in a passing state that no operation works on: they lost their workflow. $1 at most
SELECT i.uuid, i.vm_state, i.power_state, i.generation, i.host, i.deleted, i.newest_generation AS newest, i.old_host, i.old_generation,
       false AS busy
FROM instances i WHERE NOT i.deleted AND i.vm_state = 'building'
  AND NOT EXISTS (SELECT FROM workflows w WHERE w.subject_id = i.uuid AND w.state IN ('queued', 'running', 'waiting', 'undoing'))
LIMIT $1

-- imbalances --
-- Inventories whose sum of claims is not what they say, or is more than they have. No rows: the books balance.
SELECT h.name AS host, v.resource_class, v.used, coalesce(sum(a.amount), 0)::bigint AS claimed,
       floor((v.total - v.reserved) * v.allocation_ratio)::bigint AS capacity
FROM inventories v JOIN hosts h ON h.id = v.host_id
LEFT JOIN allocations a ON a.host_id = v.host_id AND a.resource_class = v.resource_class
GROUP BY h.name, v.resource_class, v.used, v.total, v.reserved, v.allocation_ratio
HAVING v.used <> coalesce(sum(a.amount), 0) OR coalesce(sum(a.amount), 0) > floor((v.total - v.reserved) * v.allocation_ratio)

-- unclaimed --
-- Live servers on a host without a claim there, and claims without a live server. No rows: they match.
SELECT i.uuid AS instance_id, 'no claim on its host'::text AS problem FROM instances i
WHERE NOT i.deleted AND i.host_id IS NOT NULL
  AND NOT EXISTS (SELECT FROM allocations a WHERE a.consumer_id = i.uuid AND a.host_id = i.host_id AND a.generation = i.generation)
UNION ALL
SELECT DISTINCT a.consumer_id, 'claim without a live server'::text FROM allocations a
LEFT JOIN instances i ON i.uuid = a.consumer_id AND NOT i.deleted WHERE i.uuid IS NULL
UNION ALL
SELECT DISTINCT a.consumer_id, 'claim of another host or placement'::text FROM allocations a
JOIN instances i ON i.uuid = a.consumer_id AND NOT i.deleted
WHERE (a.host_id IS DISTINCT FROM i.host_id OR a.generation <> i.generation)
  AND (a.host_id IS DISTINCT FROM i.old_host_id OR a.generation IS DISTINCT FROM i.old_generation)
UNION ALL
SELECT i.uuid, 'no claim at the place that its resize left' FROM instances i
WHERE NOT i.deleted AND i.old_generation IS NOT NULL
  AND NOT EXISTS (SELECT FROM allocations a WHERE a.consumer_id = i.uuid AND a.host_id = i.old_host_id AND a.generation = i.old_generation)

-- unsettled --
-- Operations that are open, and servers that still build. No rows: settled.
SELECT w.subject_id AS instance_id, ('operation ' || w.kind || ' is ' || w.state || ' at ' || coalesce(w.step, 'its end')) AS problem FROM workflows w
WHERE w.state IN ('queued', 'running', 'waiting', 'undoing')
UNION ALL
SELECT i.uuid, 'still building' FROM instances i WHERE NOT i.deleted AND i.vm_state = 'building'

-- set_ports --
-- The ports of a server changed. $1 server, $2 ports, $3 names of their security groups; returns where it is
UPDATE instances SET ports = $2, security_groups = $3, updated_at = now() WHERE uuid = $1 AND NOT deleted RETURNING host

-- set_password --
-- What the guest posted: its password, encrypted by itself; the first one counts. $1 server, $2 text
UPDATE instances SET password_data = $2, updated_at = now() WHERE uuid = $1 AND password_data = '' AND NOT deleted

-- is_held --
-- Whether a server's claim of one placement is on this host. $1 server, $2 placement, $3 host
SELECT EXISTS (
    SELECT FROM allocations a JOIN hosts h ON h.id = a.host_id WHERE a.consumer_id = $1 AND a.generation = $2 AND h.name = $3
) AS held

-- hosts_of --
-- The hosts of live servers. $1: ids
SELECT uuid AS instance_id, host FROM instances WHERE uuid = ANY ($1::uuid[]) AND host IS NOT NULL AND NOT deleted

-- alike --
-- How many servers of each host have an image with a property of this value. $1: properties and values
SELECT i.host, w.key AS name, count(*) AS servers FROM instances i
CROSS JOIN LATERAL jsonb_each($1::jsonb) AS w
WHERE NOT i.deleted AND i.host IS NOT NULL AND i.image_properties -> w.key = w.value GROUP BY i.host, w.key
