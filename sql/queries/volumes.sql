-- lock_project --
-- Let nobody else count what a project has, or add to it, until the transaction ends. $1 project
SELECT pg_advisory_xact_lock(hashtextextended('volumes/' || $1::text, 0)) IS NULL

-- usage --
-- What counts against a project's limits; GiB of volumes and snapshots. $1 project
SELECT (SELECT count(*) FROM volumes v WHERE v.project_id = $1) AS volumes,
       (SELECT count(*) FROM volume_snapshots s WHERE s.project_id = $1) AS snapshots,
       (SELECT coalesce(sum(v.size), 0) FROM volumes v WHERE v.project_id = $1)::bigint
       + (SELECT coalesce(sum(s.size), 0) FROM volume_snapshots s WHERE s.project_id = $1)::bigint AS gigabytes

-- usage_by_type --
-- As usage, of each type that the project has something of. $1 project
SELECT type_id, count(*) FILTER (WHERE NOT is_snapshot) AS volumes, count(*) FILTER (WHERE is_snapshot) AS snapshots,
       sum(size)::bigint AS gigabytes
FROM (
    SELECT v.type_id, v.size, false AS is_snapshot FROM volumes v WHERE v.project_id = $1
    UNION ALL
    SELECT v.type_id, s.size, true FROM volume_snapshots s JOIN volumes v ON v.id = s.volume_id WHERE s.project_id = $1
) held GROUP BY type_id

-- insert --
-- $1 id, $2 project, $3 user, $4 name, $5 description, $6 size in GiB, $7 status, $8 zone, $9 type, $10 bootable, $11 multiattach,
-- $12 metadata, $13 image metadata, $14 snapshot or null, $15 source volume or null, $16 sealed key or null
INSERT INTO volumes (id, project_id, user_id, name, description, size, status, availability_zone, type_id, bootable, multiattach,
                     metadata, image_metadata, snapshot_id, source_volume_id, sealed_key)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
ON CONFLICT (id) DO NOTHING

-- list --
-- Newest first. $1 project, or null for all; $2 ids or null; $3 names or null
SELECT v.id, v.project_id, v.user_id, v.name, v.description, v.size, v.status, v.status_before, v.availability_zone, v.type_id,
       t.name AS type_name, v.bootable, v.multiattach, v.read_only, v.metadata, v.image_metadata, v.snapshot_id, v.source_volume_id,
       v.created_at, v.updated_at, v.sealed_key IS NOT NULL AS encrypted,
       coalesce((SELECT jsonb_agg(jsonb_build_object('id', a.id, 'instance_id', a.instance_id, 'status', a.status,
                        'mountpoint', a.mountpoint, 'host', a.connector ->> 'host', 'attached_at', a.attached_at) ORDER BY a.created_at)
                 FROM volume_attachments a WHERE a.volume_id = v.id), '[]') AS attachments
FROM volumes v JOIN volume_types t ON t.id = v.type_id
WHERE ($1::text IS NULL OR v.project_id = $1) AND ($2::uuid[] IS NULL OR v.id = ANY ($2)) AND ($3::text[] IS NULL OR v.name = ANY ($3))
ORDER BY v.created_at DESC, v.id

-- sealed_key --
-- What opens an encrypted volume. $1 id
SELECT v.sealed_key FROM volumes v WHERE v.id = $1 AND v.sealed_key IS NOT NULL

-- any_encrypted --
-- Whether there is any encrypted volume.
SELECT EXISTS (SELECT FROM volumes v WHERE v.sealed_key IS NOT NULL)

-- lock --
-- Hold a volume's row until the transaction ends. $1 id
SELECT v.id FROM volumes v WHERE v.id = $1 FOR UPDATE

-- change --
-- Set the columns that are keys of $2; the others stay. $1 id
UPDATE volumes SET
    name = CASE WHEN $2::jsonb ? 'name' THEN $2 ->> 'name' ELSE name END,
    description = CASE WHEN $2 ? 'description' THEN $2 ->> 'description' ELSE description END,
    size = coalesce(($2 ->> 'size')::integer, size),
    status = coalesce($2 ->> 'status', status),
    status_before = CASE WHEN $2 ? 'status_before' THEN $2 ->> 'status_before' ELSE status_before END,
    type_id = coalesce(($2 ->> 'type_id')::uuid, type_id),
    bootable = coalesce(($2 ->> 'bootable')::boolean, bootable),
    multiattach = coalesce(($2 ->> 'multiattach')::boolean, multiattach),
    read_only = coalesce(($2 ->> 'read_only')::boolean, read_only),
    metadata = coalesce($2 -> 'metadata', metadata),
    image_metadata = coalesce($2 -> 'image_metadata', image_metadata),
    updated_at = now()
WHERE id = $1

-- delete --
-- $1 id
DELETE FROM volumes WHERE id = $1

-- insert_attachment --
-- $1 id, $2 volume, $3 server or null, $4 shared, $5 status, $6 mode, $7 secret, $8 for the host that the server moves to
INSERT INTO volume_attachments (id, volume_id, instance_id, shared, status, mode, secret, moving) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)

-- attachments --
-- Oldest first. $1 project, or null for all; $2 ids or null; $3 volumes or null; $4 servers or null
SELECT a.id, a.volume_id, a.instance_id, a.status, a.mode, a.connector, a.mountpoint, a.secret, a.attached_at, a.moving, v.project_id
FROM volume_attachments a JOIN volumes v ON v.id = a.volume_id
WHERE ($1::text IS NULL OR v.project_id = $1) AND ($2::uuid[] IS NULL OR a.id = ANY ($2))
  AND ($3::uuid[] IS NULL OR a.volume_id = ANY ($3)) AND ($4::uuid[] IS NULL OR a.instance_id = ANY ($4))
ORDER BY a.created_at, a.id

-- connect_attachment --
-- $1 id, $2 status, $3 connector, $4 mountpoint or null to keep it
UPDATE volume_attachments SET status = $2, connector = $3, mountpoint = coalesce($4, mountpoint),
       attached_at = CASE WHEN $2 = 'attached' THEN coalesce(attached_at, now()) ELSE attached_at END
WHERE id = $1

-- delete_attachment --
-- $1 id
DELETE FROM volume_attachments WHERE id = $1

-- settle_attachment --
-- The server has moved: what was for the host that it moved to is its attachment now. $1 id
UPDATE volume_attachments SET moving = false WHERE id = $1

-- insert_export --
-- No row: the attachment has one, or the port is taken. $1 attachment, $2 exporter, $3 address, $4 port, $5 peer, $6 party or null, $7 GiB
INSERT INTO volume_exports (attachment_id, exporter, address, port, peer, party, size, protocol) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT DO NOTHING RETURNING attachment_id

-- exports --
-- $1 exporter, or null for all; $2 attachments or null; $3 volumes or null
SELECT e.attachment_id, a.volume_id, e.protocol, e.exporter, e.address, e.port, e.peer, e.party, e.size, a.secret, a.mode, a.moving,
       v.size AS volume_size, v.sealed_key IS NOT NULL AS encrypted
FROM volume_exports e JOIN volume_attachments a ON a.id = e.attachment_id JOIN volumes v ON v.id = a.volume_id
WHERE ($1::text IS NULL OR e.exporter = $1) AND ($2::uuid[] IS NULL OR e.attachment_id = ANY ($2))
  AND ($3::uuid[] IS NULL OR a.volume_id = ANY ($3))
ORDER BY e.port

-- resize_export --
-- It shows so much now. $1 attachment, $2 GiB
UPDATE volume_exports SET size = $2 WHERE attachment_id = $1

-- delete_export --
-- $1 attachment
DELETE FROM volume_exports WHERE attachment_id = $1

-- insert_snapshot --
-- $1 id, $2 volume, $3 project, $4 user, $5 name, $6 description, $7 size in GiB, $8 status, $9 metadata
INSERT INTO volume_snapshots (id, volume_id, project_id, user_id, name, description, size, status, metadata)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (id) DO NOTHING

-- snapshots --
-- Newest first. $1 project, or null for all; $2 ids or null; $3 names or null; $4 volumes or null
SELECT s.id, s.volume_id, s.project_id, s.user_id, s.name, s.description, s.size, s.status, s.progress, s.metadata, s.created_at, s.updated_at
FROM volume_snapshots s
WHERE ($1::text IS NULL OR s.project_id = $1) AND ($2::uuid[] IS NULL OR s.id = ANY ($2)) AND ($3::text[] IS NULL OR s.name = ANY ($3))
  AND ($4::uuid[] IS NULL OR s.volume_id = ANY ($4))
ORDER BY s.created_at DESC, s.id

-- lock_snapshot --
-- Hold a snapshot's row until the transaction ends. $1 id
SELECT s.id FROM volume_snapshots s WHERE s.id = $1 FOR UPDATE

-- change_snapshot --
-- Set the columns that are keys of $2; the others stay. $1 id
UPDATE volume_snapshots SET
    name = CASE WHEN $2::jsonb ? 'name' THEN $2 ->> 'name' ELSE name END,
    description = CASE WHEN $2 ? 'description' THEN $2 ->> 'description' ELSE description END,
    status = coalesce($2 ->> 'status', status),
    progress = coalesce($2 ->> 'progress', progress),
    metadata = coalesce($2 -> 'metadata', metadata),
    updated_at = now()
WHERE id = $1

-- delete_snapshot --
-- $1 id
DELETE FROM volume_snapshots WHERE id = $1

-- insert_job --
-- $1 id, $2 volume, $3 snapshot or null, $4 kind, $5 input, $6 context
INSERT INTO volume_jobs (id, volume_id, snapshot_id, kind, input, context) VALUES ($1, $2, $3, $4, $5, $6)

-- take_jobs --
-- Jobs that nobody works on become ours. $1 owner, $2 seconds of the lease, $3 how many
UPDATE volume_jobs SET owner = $1, until = now() + make_interval(secs => $2::float8)
WHERE id IN (SELECT j.id FROM volume_jobs j WHERE j.until <= now() ORDER BY j.until LIMIT $3::integer FOR UPDATE SKIP LOCKED)
RETURNING id, volume_id, snapshot_id, kind, input, context, tries

-- renew_jobs --
-- Those that are still ours. $1 owner, $2 ids, $3 seconds of the lease
UPDATE volume_jobs SET until = now() + make_interval(secs => $3::float8) WHERE owner = $1 AND id = ANY ($2::uuid[]) RETURNING id

-- put_job_off --
-- To be tried again. $1 id, $2 owner, $3 seconds
UPDATE volume_jobs SET owner = NULL, tries = tries + 1, until = now() + make_interval(secs => $3::float8) WHERE id = $1 AND owner = $2

-- end_job --
-- No row: somebody else has it. $1 id, $2 owner
DELETE FROM volume_jobs WHERE id = $1 AND owner = $2 RETURNING id

-- files --
-- Ids whose files are wanted: volumes and snapshots.
SELECT v.id FROM volumes v UNION ALL SELECT s.id FROM volume_snapshots s
