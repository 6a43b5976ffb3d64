-- put --
-- Add items to a server's metadata, or ($3) put them in the place of all others. $1: server, $2: items
UPDATE instances SET metadata = CASE WHEN $3::boolean THEN $2::jsonb ELSE metadata || $2::jsonb END, updated_at = now()
WHERE uuid = $1 AND NOT deleted
RETURNING metadata

-- remove --
-- Take one item away. $1: server, $2: its key
UPDATE instances SET metadata = metadata - $2::text, updated_at = now() WHERE uuid = $1 AND NOT deleted AND metadata ? $2
