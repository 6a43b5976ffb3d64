-- owner --
-- Whose server it is, or was. $1: server
SELECT uuid, project_id, user_id, deleted FROM instances WHERE uuid = $1

-- list --
-- What was done to a server, newest first; Nova keeps no record of snapshots of volumes. $1: server; $2, $3: changed not before, not after (NULL: whenever);
-- $4, $5: when the one was made after which to begin, and its id (NULL: at the beginning); $6: at most
SELECT w.id, w.kind, w.subject_id, w.request_id, w.context, w.created_at, w.updated_at,
       (w.error IS NOT NULL OR w.history @> '[{"result": "Error"}]') IS TRUE AS failed
FROM workflows w
WHERE w.subject_id = $1 AND w.kind NOT IN ('create_volume_snapshot', 'delete_volume_snapshot')
  AND ($2::timestamptz IS NULL OR w.updated_at >= $2)
  AND ($3::timestamptz IS NULL OR w.updated_at <= $3)
  AND ($4::timestamptz IS NULL OR (w.created_at, w.id) < ($4, $5::uuid))
ORDER BY w.created_at DESC, w.id DESC LIMIT $6

-- get --
-- What a request did to a server, with its events. $1: server, $2: the request's id
SELECT w.id, w.kind, w.subject_id, w.request_id, w.context, w.created_at, w.updated_at, w.state,
       (w.error IS NOT NULL OR w.history @> '[{"result": "Error"}]') IS TRUE AS failed, w.history
FROM workflows w
WHERE w.subject_id = $1 AND w.request_id = $2 AND w.kind NOT IN ('create_volume_snapshot', 'delete_volume_snapshot')
ORDER BY w.created_at DESC, w.id DESC LIMIT 1
