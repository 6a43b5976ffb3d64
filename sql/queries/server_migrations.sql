-- list --
-- Moves of servers, newest first, in Nova's words. Parameters that are null do not filter.
-- $1 server, $2 the project that began it, $3 the user, $4 host that a move came from or went to, $5 statuses, $6 types, $7 source host,
-- $8 changed since, $9 changed until, $10 number of the move, $11 number of the move that the last page ended with, $12 at most
WITH moves AS (
    SELECT w.number, w.id AS uuid, w.subject_id AS instance_id, w.context ->> 'project_id' AS project_id,
           w.context ->> 'user_id' AS user_id, w.kind, w.state, w.signal, w.point_of_no_return,
           CASE w.kind WHEN 'migrate' THEN 'migration' WHEN 'evacuate' THEN 'evacuation' ELSE w.kind END AS migration_type,
           CASE
               WHEN w.kind IN ('resize', 'migrate') AND w.state = 'done' THEN coalesce(e.status, 'finished')
               WHEN w.kind = 'live-migration' AND w.state = 'done' THEN 'completed'
               WHEN w.state = 'done' THEN 'done'
               WHEN w.state = 'failed' THEN CASE w.kind WHEN 'evacuate' THEN 'failed' ELSE 'error' END
               WHEN w.state = 'cancelled' THEN 'cancelled'
               WHEN w.kind = 'evacuate' THEN CASE w.step WHEN 'claim_host' THEN 'accepted' ELSE 'pre-migrating' END
               WHEN w.kind = 'live-migration' THEN
                   CASE w.step WHEN 'claim_destination' THEN 'queued' WHEN 'prepare' THEN 'preparing' WHEN 'migrate' THEN 'running'
                       ELSE 'post-migrating' END
               ELSE CASE w.step WHEN 'claim_destination' THEN 'pre-migrating' WHEN 'finish_move' THEN 'post-migrating'
                       WHEN 'switch' THEN 'post-migrating' ELSE 'migrating' END
           END AS status,
           coalesce(c.claimed #>> '{source,host}', CASE WHEN w.finished_at IS NULL THEN i.host END) AS source_host,
           coalesce(c.claimed #>> '{source,node}', CASE WHEN w.finished_at IS NULL THEN i.node END) AS source_node,
           c.claimed ->> 'host' AS dest_host, c.claimed ->> 'node' AS dest_node, c.claimed ->> 'address' AS dest_address,
           coalesce((c.claimed ->> 'old_flavor_id')::bigint, i.flavor_id) AS old_flavor_id,
           coalesce((c.claimed ->> 'new_flavor_id')::bigint, (w.input #>> '{flavor,id}')::bigint, i.flavor_id) AS new_flavor_id,
           i.memory_mb, w.created_at, greatest(w.updated_at, e.updated_at) AS updated_at
    FROM workflows w
    JOIN instances i ON i.uuid = w.subject_id
    CROSS JOIN LATERAL (SELECT coalesce(w.results -> 'claim_destination', w.results -> 'claim_host') AS claimed) AS c
    LEFT JOIN LATERAL (
        SELECT x.updated_at, CASE x.kind WHEN 'confirmResize' THEN CASE x.state WHEN 'done' THEN 'confirmed' ELSE 'confirming' END
            ELSE CASE x.state WHEN 'done' THEN 'reverted' ELSE 'reverting' END END AS status
        FROM workflows x
        WHERE x.subject_id = w.subject_id AND x.kind IN ('confirmResize', 'revertResize') AND x.results #>> '{decide,move_id}' = w.id::text
        ORDER BY x.created_at DESC LIMIT 1) AS e ON true
    WHERE w.kind IN ('resize', 'migrate', 'live-migration', 'evacuate')
      AND ($1::uuid IS NULL OR w.subject_id = $1) AND ($10::bigint IS NULL OR w.number = $10)
)
SELECT m.* FROM moves m
WHERE ($2::text IS NULL OR m.project_id = $2) AND ($3::text IS NULL OR m.user_id = $3)
  AND ($4::text IS NULL OR m.source_host = $4 OR m.dest_host = $4) AND ($5::text[] IS NULL OR m.status = ANY ($5))
  AND ($6::text[] IS NULL OR m.migration_type = ANY ($6)) AND ($7::text IS NULL OR m.source_host = $7)
  AND ($8::timestamptz IS NULL OR m.updated_at >= $8) AND ($9::timestamptz IS NULL OR m.updated_at <= $9)
  AND ($11::bigint IS NULL OR m.number < $11)
ORDER BY m.number DESC LIMIT $12

-- number --
-- The number of the move that a page ended with. $1 the workflow
SELECT number FROM workflows WHERE id = $1 AND kind IN ('resize', 'migrate', 'live-migration', 'evacuate')
