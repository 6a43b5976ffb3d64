-- set --
-- Put these tags in the place of all others. $1: server, $2: tags
UPDATE instances SET tags = $2::text[], updated_at = now() WHERE uuid = $1 AND NOT deleted RETURNING tags

-- current --
-- The tags of a server. $1: server
SELECT tags FROM instances WHERE uuid = $1 AND NOT deleted
