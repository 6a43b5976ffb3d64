-- list --
-- The key pairs of a user by name. $1: user, $2: the name after which to begin (NULL: at the beginning), $3: at most (NULL: all)
SELECT * FROM keypairs WHERE user_id = $1 AND ($2::text IS NULL OR name COLLATE "C" > $2 COLLATE "C") ORDER BY name COLLATE "C" LIMIT $3::bigint

-- get --
-- One. $1: user, $2: name
SELECT * FROM keypairs WHERE user_id = $1 AND name = $2

-- count --
-- How many a user has. $1: user
SELECT count(*) FROM keypairs WHERE user_id = $1

-- serialize --
-- One at a time until the end of the transaction: those who add key pairs to a user. $1: user
SELECT pg_advisory_xact_lock(hashtextextended('keypairs/' || $1, 0)) IS NOT NULL

-- insert --
-- A new one. $1: user, $2: name, $3: type, $4: public key, $5: fingerprint
INSERT INTO keypairs (user_id, name, type, public_key, fingerprint) VALUES ($1, $2, $3, $4, $5) RETURNING *

-- delete --
-- $1: user, $2: name
DELETE FROM keypairs WHERE user_id = $1 AND name = $2
