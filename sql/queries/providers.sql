-- all --
-- Hosts as providers of resources, oldest first, with their inventory (resource class -> [total, reserved, ratio, used]) and the UUIDs of
-- their aggregates. $1: only the one with this id (NULL: all)
SELECT h.id, coalesce(nullif(h.facts ->> 'hypervisor_hostname', ''), h.name) AS name, h.disabled, h.traits, h.updated_at,
       coalesce((SELECT jsonb_object_agg(i.resource_class, jsonb_build_array(i.total, i.reserved, i.allocation_ratio, i.used))
                 FROM inventories i WHERE i.host_id = h.id), '{}') AS inventory,
       ARRAY(SELECT a.uuid::text FROM aggregates a JOIN aggregate_hosts m ON m.aggregate_id = a.id WHERE m.host = h.name ORDER BY a.id) AS aggregates
FROM hosts h WHERE $1::uuid IS NULL OR h.id = $1 ORDER BY h.number

-- claims --
-- What servers hold of hosts. $1: only of this host, $2: only by this server (NULL: any)
SELECT a.consumer_id, a.host_id, i.project_id, i.user_id, jsonb_object_agg(a.resource_class, a.amount) AS resources
FROM (
    SELECT consumer_id, host_id, resource_class, sum(amount)::bigint AS amount FROM allocations
    WHERE ($1::uuid IS NULL OR host_id = $1) AND ($2::uuid IS NULL OR consumer_id = $2)
    GROUP BY consumer_id, host_id, resource_class
) a LEFT JOIN instances i ON i.uuid = a.consumer_id
GROUP BY a.consumer_id, a.host_id, i.project_id, i.user_id ORDER BY a.consumer_id, a.host_id

-- used_by_project --
-- What a project's servers hold. $1: project, $2: only servers of this user (NULL: of all)
SELECT a.resource_class, sum(a.amount)::bigint AS amount FROM allocations a JOIN instances i ON i.uuid = a.consumer_id
WHERE i.project_id = $1 AND ($2::text IS NULL OR i.user_id = $2) GROUP BY a.resource_class ORDER BY a.resource_class

-- consumers --
-- How many servers of a project hold something. $1, $2: as above
SELECT count(DISTINCT a.consumer_id) FROM allocations a JOIN instances i ON i.uuid = a.consumer_id
WHERE i.project_id = $1 AND ($2::text IS NULL OR i.user_id = $2)
