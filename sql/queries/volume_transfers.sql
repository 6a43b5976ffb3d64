-- insert --
-- $1 id, $2 volume, $3 name, $4 digest of the key, $5 without snapshots
INSERT INTO volume_transfers (id, volume_id, name, key_digest, no_snapshots) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (volume_id) DO UPDATE SET id = excluded.id, name = excluded.name, key_digest = excluded.key_digest,
    no_snapshots = excluded.no_snapshots, created_at = excluded.created_at

-- transfers --
-- Newest first. $1 project that gives, or null for all; $2 ids or null
SELECT t.id, t.volume_id, t.name, t.key_digest, t.no_snapshots, t.created_at, v.project_id
FROM volume_transfers t JOIN volumes v ON v.id = t.volume_id
WHERE ($1::text IS NULL OR v.project_id = $1) AND ($2::uuid[] IS NULL OR t.id = ANY ($2))
ORDER BY t.created_at DESC, t.id

-- delete --
-- $1 id
DELETE FROM volume_transfers WHERE id = $1

-- hand_over --
-- $1 volume, $2 project that gets it, $3 user
UPDATE volumes SET project_id = $2, user_id = $3, status = 'available', updated_at = now() WHERE id = $1

-- hand_over_snapshots --
-- $1 ids, $2 project that gets them, $3 user
UPDATE volume_snapshots SET project_id = $2, user_id = $3, updated_at = now() WHERE id = ANY ($1::uuid[])
