-- list --
-- Server groups with the ids of their members, oldest first. $1: only of this project (NULL: of all)
SELECT g.id, g.project_id, g.user_id, g.name, g.policy, g.max_server_per_host,
       ARRAY(SELECT m.instance_id FROM server_group_members m WHERE m.group_id = g.id ORDER BY m.number) AS members
FROM server_groups g WHERE $1::text IS NULL OR g.project_id = $1 ORDER BY g.number

-- get --
-- One server group. $1: its id
SELECT g.id, g.project_id, g.user_id, g.name, g.policy, g.max_server_per_host,
       ARRAY(SELECT m.instance_id FROM server_group_members m WHERE m.group_id = g.id ORDER BY m.number) AS members
FROM server_groups g WHERE g.id = $1

-- serialize --
-- One at a time until the end of the transaction: those who add groups to a project. $1: project
SELECT pg_advisory_xact_lock(hashtextextended('server-groups/' || $1, 0)) IS NOT NULL

-- count --
-- How many groups a project has, and how many of them a user made. $1: project, $2: user
SELECT count(*) AS groups, count(*) FILTER (WHERE user_id = $2) AS own FROM server_groups WHERE project_id = $1

-- insert --
-- $1: id, $2: project, $3: user, $4: name, $5: policy, $6: how many members one host may hold (NULL: not said)
INSERT INTO server_groups (id, project_id, user_id, name, policy, max_server_per_host) VALUES ($1, $2, $3, $4, $5, $6)

-- delete --
-- $1: id. Its members are in no group then.
DELETE FROM server_groups WHERE id = $1

-- hold --
-- The project of a group that gets members; nobody else adds to it or deletes it until the transaction ends. $1: id
SELECT project_id FROM server_groups WHERE id = $1 FOR NO KEY UPDATE

-- join --
-- Add a user's servers; returns how many live members are the user's then. In a statement after hold. $1: group, $2: servers, $3: user
WITH joined AS (
    INSERT INTO server_group_members (instance_id, group_id)
    SELECT s.id, $1 FROM unnest($2::uuid[]) WITH ORDINALITY AS s (id, place) ORDER BY s.place RETURNING instance_id
)
SELECT (SELECT count(*) FROM joined)
       + (SELECT count(*) FROM server_group_members m JOIN instances i ON i.uuid = m.instance_id
          WHERE m.group_id = $1 AND i.user_id = $3 AND NOT i.deleted) AS members

-- take_turn --
-- Placements of the members of one group follow each other: the lock is held until the transaction ends. No row: the server is in no group.
-- $1: the server
SELECT pg_advisory_xact_lock(hashtextextended('server-group/' || m.group_id, 0)) IS NOT NULL
FROM server_group_members m WHERE m.instance_id = $1

-- placed --
-- The policy of a server's group, and how many of the other members each host holds: where they are, and where they are moving to or from.
-- In a statement after take_turn. $1: the server
SELECT g.policy, coalesce(g.max_server_per_host, 1) AS max_server_per_host, coalesce(
    (SELECT jsonb_object_agg(held.name, held.servers) FROM (
        SELECT h.name, count(*) AS servers FROM server_group_members o
        CROSS JOIN LATERAL (SELECT a.host_id FROM allocations a WHERE a.consumer_id = o.instance_id
                            UNION SELECT i.host_id FROM instances i WHERE i.uuid = o.instance_id AND NOT i.deleted) AS p
        JOIN hosts h ON h.id = p.host_id
        WHERE o.group_id = g.id AND o.instance_id <> $1 GROUP BY h.name) AS held), '{}') AS members
FROM server_group_members m JOIN server_groups g ON g.id = m.group_id WHERE m.instance_id = $1

-- violations --
-- Groups whose policy does not hold. No rows: all hold.
WITH held AS (
    SELECT m.group_id, i.host, count(*) AS servers FROM server_group_members m
    JOIN instances i ON i.uuid = m.instance_id AND NOT i.deleted AND i.host IS NOT NULL GROUP BY m.group_id, i.host
)
SELECT g.id AS instance_id, 'anti-affinity: ' || h.host || ' holds ' || h.servers AS problem FROM server_groups g JOIN held h ON h.group_id = g.id
WHERE g.policy = 'anti-affinity' AND h.servers > coalesce(g.max_server_per_host, 1)
UNION ALL
SELECT g.id, 'affinity: on ' || string_agg(h.host, ' and ') FROM server_groups g JOIN held h ON h.group_id = g.id
WHERE g.policy = 'affinity' GROUP BY g.id HAVING count(*) > 1
