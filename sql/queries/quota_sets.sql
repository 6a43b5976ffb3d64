-- effective --
-- The limits that hold for a project ($1) or, where $2 is not '', for one of its users: the user's own, over the project's,
-- over those of the class "default".
SELECT DISTINCT ON (resource) resource, hard_limit FROM quotas
WHERE project_id IN ('', $1) AND user_id = '' OR project_id = $1 AND user_id = $2 AND $1 <> ''
ORDER BY resource, (project_id = $1) DESC, user_id DESC

-- of_class --
-- The limits of a class ($1: its name, '' for "default").
SELECT resource, hard_limit FROM quotas WHERE project_id = '' AND user_id = $1

-- of_user --
-- The limits that were set for a user ($2) of a project ($1) alone.
SELECT resource, hard_limit FROM quotas WHERE project_id = $1 AND user_id = $2 AND $1 <> '' AND $2 <> ''

-- given_to_users --
-- What the users of a project have been given of its limits, but for one user. $1: project, $2: the user left out ('': nobody).
SELECT resource, sum(hard_limit)::bigint AS hard_limit FROM quotas
WHERE project_id = $1 AND user_id <> '' AND user_id <> $2 AND hard_limit >= 0
GROUP BY resource

-- set --
-- Set limits. $1: project ('': the class named by $2), $2: user or '', $3: resources, $4: their limits.
INSERT INTO quotas (project_id, user_id, resource, hard_limit)
SELECT $1, $2, t.resource, t.hard_limit FROM unnest($3::text[], $4::integer[]) AS t (resource, hard_limit)
ON CONFLICT (project_id, user_id, resource) DO UPDATE SET hard_limit = excluded.hard_limit

-- forget --
-- Back to what holds above. $1: project, $2: one of its users; '': the project and all of them.
DELETE FROM quotas WHERE project_id = $1 AND project_id <> '' AND ($2::text = '' OR user_id = $2)

-- usage --
-- What a project ($1) uses, or one of its users ($2, unless ''). Memory in MiB.
SELECT count(*) AS instances, coalesce(sum(vcpus), 0)::bigint AS cores, coalesce(sum(memory_mb), 0)::bigint AS ram,
       (SELECT count(*) FROM server_groups g WHERE g.project_id = $1 AND ($2::text = '' OR g.user_id = $2)) AS server_groups
FROM instances
WHERE project_id = $1 AND ($2::text = '' OR user_id = $2) AND NOT deleted AND vm_state <> 'soft-delete'

-- serialize --
-- One at a time until the end of the transaction: those who change the limits of a project. $1: project
SELECT pg_advisory_xact_lock(hashtextextended('quotas/' || $1, 0)) IS NOT NULL
