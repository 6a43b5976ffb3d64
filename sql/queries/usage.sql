-- ran_in --
-- Servers that ran in a time, deleted ones too, by project. $1, $2: from, to; $3: only of this project (NULL: of all);
-- $4, $5: project and id of the server after which to begin (NULL: at the beginning); $6: at most
SELECT uuid, project_id, display_name, vm_state, coalesce(flavor ->> 'name', '') AS flavor, vcpus, memory_mb,
       coalesce((flavor ->> 'root_gb')::bigint, 0) + coalesce((flavor ->> 'ephemeral_gb')::bigint, 0) AS local_gb,
       launched_at, terminated_at
FROM instances
WHERE launched_at < $2 AND (terminated_at IS NULL OR terminated_at > $1) AND ($3::text IS NULL OR project_id = $3)
  AND ($5::uuid IS NULL OR (project_id, uuid) > ($4::text, $5))
ORDER BY project_id, uuid LIMIT $6

-- owner --
-- The project of the server that a page ended with, deleted or not. $1: the server
SELECT project_id FROM instances WHERE uuid = $1
