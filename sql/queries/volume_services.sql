-- all --
SELECT s.name, s.disabled, s.reason FROM volume_services s

-- put --
-- $1 name, $2 disabled, $3 reason or null
INSERT INTO volume_services (name, disabled, reason) VALUES ($1, $2, $3)
ON CONFLICT (name) DO UPDATE SET disabled = $2, reason = $3

-- usage --
-- By project; GiB
SELECT u.project_id, sum(u.volumes)::bigint AS volumes, sum(u.gigabytes)::bigint AS gigabytes, sum(u.snapshots)::bigint AS snapshots,
       sum(u.snapshot_gigabytes)::bigint AS snapshot_gigabytes
FROM (SELECT v.project_id, 1 AS volumes, v.size AS gigabytes, 0 AS snapshots, 0 AS snapshot_gigabytes FROM volumes v
      UNION ALL SELECT s.project_id, 0, 0, 1, s.size FROM volume_snapshots s) u
GROUP BY u.project_id ORDER BY u.project_id
