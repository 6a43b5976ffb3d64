-- limits --
-- What was set for a project. $1 project
SELECT q.project_id, q.resource, q.hard_limit FROM network_quotas q WHERE q.project_id = $1

-- all_limits --
-- What was set for anybody.
SELECT q.project_id, q.resource, q.hard_limit FROM network_quotas q ORDER BY q.project_id, q.resource

-- set --
-- $1 project, $2 resources, $3 their limits
INSERT INTO network_quotas (project_id, resource, hard_limit)
SELECT $1, t.resource, t.hard_limit FROM unnest($2::text[], $3::integer[]) AS t (resource, hard_limit)
ON CONFLICT (project_id, resource) DO UPDATE SET hard_limit = excluded.hard_limit

-- forget --
-- $1 project
DELETE FROM network_quotas WHERE project_id = $1

-- alone --
-- Until the transaction ends nobody else counts a project's things of this kind, or adds to them. $1 project, $2 resource
SELECT pg_advisory_xact_lock(hashtextextended('network/quotas/' || $2::text || '/' || $1::text, 0))

-- used --
-- How many a project has. $1 project, $2 resource
SELECT CASE $2::text
    WHEN 'network' THEN (SELECT count(*) FROM networks WHERE project_id = $1)
    WHEN 'subnet' THEN (SELECT count(*) FROM subnets WHERE project_id = $1)
    WHEN 'subnetpool' THEN (SELECT count(*) FROM subnet_pools WHERE project_id = $1)
    WHEN 'port' THEN (SELECT count(*) FROM ports WHERE project_id = $1)
    WHEN 'router' THEN (SELECT count(*) FROM routers WHERE project_id = $1)
    WHEN 'floatingip' THEN (SELECT count(*) FROM floating_ips WHERE project_id = $1)
    WHEN 'security_group' THEN (SELECT count(*) FROM security_groups WHERE project_id = $1)
    WHEN 'security_group_rule' THEN (SELECT count(*) FROM security_group_rules WHERE project_id = $1)
    ELSE 0 END AS used
