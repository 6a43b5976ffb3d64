-- limits --
-- The limits that operators set for a project, over those of the class "default". $1: the project.
SELECT coalesce(jsonb_object_agg(q.resource, q.hard_limit ORDER BY q.project_id), '{}') FROM quotas q WHERE q.project_id IN ('', $1) AND q.user_id = ''
