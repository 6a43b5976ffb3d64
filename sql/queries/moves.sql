-- state --
-- Where a server is in its placements; locks the row until the transaction ends. $1 server
SELECT i.generation, greatest(i.generation, i.newest_generation) AS newest, i.vm_state, i.power_state, i.host_id, i.host, i.node,
       i.availability_zone, i.flavor, i.flavor_id, i.move_id, i.old_host_id, i.old_host, i.old_node, i.old_zone, i.old_generation,
       i.old_flavor, i.old_flavor_id, i.old_vm_state, i.deleted
FROM instances i WHERE i.uuid = $1 FOR UPDATE

-- claim --
-- Claim the first candidate with room; the server stays where it is. No row: none has room.
-- $1 server, $2 the new placement, $3 candidate host ids, $4 resource classes, $5 amounts, $6 the highest placement given with it
WITH claimed AS (
    SELECT claim($1, $2, $3::uuid[], $4::text[], $5::bigint[]) AS host_id
), counted AS (
    UPDATE instances SET newest_generation = greatest(newest_generation, $6) FROM claimed c WHERE uuid = $1 AND c.host_id IS NOT NULL
)
SELECT h.id AS host_id, h.name AS host, coalesce(h.facts ->> 'hypervisor_hostname', h.name) AS node, h.availability_zone, h.address
FROM claimed c JOIN hosts h ON h.id = c.host_id

-- release_one --
-- Give back what one placement of a server holds. $1 server, $2 placement
SELECT release_one($1, $2)

-- restamp --
-- Let a server's claim belong to a later placement, and the server too if it is at the old one. $1 server, $2 old placement, $3 new
WITH claims AS (
    UPDATE allocations SET generation = $3 WHERE consumer_id = $1 AND generation = $2
), fits AS (
    UPDATE topologies SET generation = $3 WHERE consumer_id = $1 AND generation = $2
)
UPDATE instances SET generation = $3, newest_generation = greatest(newest_generation, $3), updated_at = now()
WHERE uuid = $1 AND generation = $2

-- resized --
-- The guest is at its new place with its new flavor; the old place is kept in mind. No row: it is not where it was.
-- $1 server, $2 old placement, $3 new placement, $4 host id, $5 flavor, $6 power state, $7 ports, $8 the workflow
UPDATE instances i SET old_host_id = i.host_id, old_host = i.host, old_node = i.node, old_zone = i.availability_zone,
    old_generation = i.generation, old_flavor = i.flavor, old_flavor_id = i.flavor_id, old_vm_state = i.vm_state, move_id = $8,
    resized_at = now(), host_id = h.id, host = h.name, node = coalesce(h.facts ->> 'hypervisor_hostname', h.name),
    availability_zone = h.availability_zone, generation = $3, flavor = $5::jsonb, flavor_id = ($5 ->> 'id')::bigint,
    vcpus = ($5 ->> 'vcpus')::integer, memory_mb = ($5 ->> 'memory_mb')::integer, vm_state = 'resized', power_state = $6, ports = $7,
    launched_at = now(), updated_at = now(), fault = NULL
FROM hosts h
WHERE i.uuid = $1 AND i.generation = $2 AND h.id = $4 AND NOT i.deleted

-- relocate --
-- The guest is on another host. $1 server, $2 old placement, $3 new placement, $4 host id
UPDATE instances i SET host_id = h.id, host = h.name, node = coalesce(h.facts ->> 'hypervisor_hostname', h.name),
    availability_zone = h.availability_zone, generation = $3, updated_at = now()
FROM hosts h
WHERE i.uuid = $1 AND i.generation = $2 AND h.id = $4 AND NOT i.deleted

-- confirm --
-- The old place and flavor are forgotten. $1 server, $2 vm_state
UPDATE instances SET move_id = NULL, old_host_id = NULL, old_host = NULL, old_node = NULL, old_zone = NULL, old_generation = NULL,
    old_flavor = NULL, old_flavor_id = NULL, old_vm_state = NULL, resized_at = NULL, vm_state = $2, updated_at = now()
WHERE uuid = $1 AND NOT deleted

-- revert --
-- The server is where and what it was, one placement further. $1 server, $2 new placement, $3 vm_state, $4 power state, $5 ports
UPDATE instances SET host_id = old_host_id, host = old_host, node = old_node, availability_zone = old_zone, generation = $2,
    newest_generation = greatest(newest_generation, $2), flavor = old_flavor, flavor_id = old_flavor_id,
    vcpus = (old_flavor ->> 'vcpus')::integer, memory_mb = (old_flavor ->> 'memory_mb')::integer, vm_state = $3, power_state = $4,
    ports = $5, move_id = NULL, old_host_id = NULL, old_host = NULL, old_node = NULL, old_zone = NULL, old_generation = NULL,
    old_flavor = NULL, old_flavor_id = NULL, old_vm_state = NULL, resized_at = NULL, launched_at = now(), updated_at = now()
WHERE uuid = $1 AND old_generation IS NOT NULL AND NOT deleted

-- put_back --
-- An evacuation failed: the server is on its old host again. $1 server, $2 its placement now, $3 the old one, $4 host id
UPDATE instances i SET host_id = h.id, host = h.name, node = coalesce(h.facts ->> 'hypervisor_hostname', h.name),
    availability_zone = h.availability_zone, generation = $3, newest_generation = greatest(i.newest_generation, $2), updated_at = now()
FROM hosts h
WHERE i.uuid = $1 AND i.generation = $2 AND h.id = $4 AND NOT i.deleted

-- leave_host --
-- Nothing of the server is on a host any more; its claims are given back. $1 server, $2 vm_state, $3 ports
WITH freed AS (
    SELECT release($1, 9223372036854775807) AS amount
)
UPDATE instances SET host_id = NULL, host = NULL, node = NULL, vm_state = $2, power_state = 4, ports = $3, updated_at = now()
FROM freed WHERE uuid = $1 AND NOT deleted

-- remember --
-- Keep facts of our own with a server; a null forgets. $1 server, $2 facts
UPDATE instances SET system_metadata = jsonb_strip_nulls(system_metadata || $2), updated_at = now() WHERE uuid = $1 AND NOT deleted

-- soft_delete --
-- The server is off and waits to be deleted. $1 server
UPDATE instances SET old_vm_state = vm_state, vm_state = 'soft-delete', soft_deleted_at = now(), updated_at = now(),
    power_state = CASE WHEN host IS NULL THEN power_state ELSE 4 END
WHERE uuid = $1 AND NOT deleted AND vm_state <> 'soft-delete'

-- restore --
-- $1 server, $2 vm_state, $3 power state
UPDATE instances SET vm_state = $2, power_state = $3, soft_deleted_at = NULL, old_vm_state = NULL, updated_at = now()
WHERE uuid = $1 AND NOT deleted

-- left_on --
-- Servers whose old place, while their resize is not confirmed, is this host. $1 host
SELECT i.uuid, i.old_generation FROM instances i WHERE i.old_host = $1 AND i.old_generation IS NOT NULL AND NOT i.deleted

-- to_confirm --
-- Resized servers that nobody confirmed in time and that no operation works on. $1 seconds, $2 at most
SELECT i.uuid, i.project_id, i.user_id FROM instances i
WHERE i.resized_at < now() - make_interval(secs => $1) AND i.vm_state = 'resized' AND NOT i.deleted
  AND NOT EXISTS (SELECT FROM workflows w WHERE w.subject_id = i.uuid AND w.state IN ('queued', 'running', 'waiting', 'undoing'))
ORDER BY i.resized_at LIMIT $2

-- to_offload --
-- Shelved servers that have been on their host long enough and that no operation works on. $1 seconds, $2 at most
SELECT i.uuid, i.project_id, i.user_id FROM instances i
WHERE i.vm_state = 'shelved' AND i.host IS NOT NULL AND NOT i.deleted
  AND (i.system_metadata ->> 'shelved_at')::timestamptz < now() - make_interval(secs => $1)
  AND NOT EXISTS (SELECT FROM workflows w WHERE w.subject_id = i.uuid AND w.state IN ('queued', 'running', 'waiting', 'undoing'))
LIMIT $2

-- to_reclaim --
-- Soft-deleted servers whose time is over and that no operation works on. $1 seconds, $2 at most
SELECT i.uuid, i.project_id, i.user_id FROM instances i
WHERE i.soft_deleted_at < now() - make_interval(secs => $1) AND i.vm_state = 'soft-delete' AND NOT i.deleted
  AND NOT EXISTS (SELECT FROM workflows w WHERE w.subject_id = i.uuid AND w.state IN ('queued', 'running', 'waiting', 'undoing'))
ORDER BY i.soft_deleted_at LIMIT $2

-- shown_ports --
-- An interface came or went. $1 server, $2 ports, $3 network requests (NULL: as they are)
UPDATE instances SET ports = $2, network_requests = coalesce($3, network_requests), updated_at = now() WHERE uuid = $1 AND NOT deleted
