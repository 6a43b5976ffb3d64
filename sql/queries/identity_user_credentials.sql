-- credentials_lock --
-- Held until the transaction ends: one process at a time finds out whether it seals the first.
SELECT pg_advisory_xact_lock(7310582418)::text AS locked

-- any_credential --
SELECT EXISTS (SELECT FROM identity_user_credentials) AS any

-- credential_insert --
-- $1 id, $2 user, $3 project, $4 type, $5 sealed blob
INSERT INTO identity_user_credentials (id, user_id, project_id, type, sealed_blob) VALUES ($1, $2, $3, $4, $5)

-- credential_update --
UPDATE identity_user_credentials SET user_id = $2, project_id = $3, type = $4, sealed_blob = $5 WHERE id = $1

-- credential_delete --
DELETE FROM identity_user_credentials WHERE id = $1

-- credential_show --
SELECT id, user_id, project_id, type, sealed_blob FROM identity_user_credentials WHERE id = $1

-- credential_lock --
SELECT id, user_id, project_id, type, sealed_blob FROM identity_user_credentials WHERE id = $1 FOR UPDATE

-- credential_list --
-- NULL leaves a filter out. $1 user, $2 type, $3 project, $4 after this id, $5 at most
SELECT id, user_id, project_id, type, sealed_blob FROM identity_user_credentials
WHERE ($1::text IS NULL OR user_id = $1) AND ($2::text IS NULL OR type = $2) AND ($3::text IS NULL OR project_id = $3)
  AND ($4::text IS NULL OR id > $4)
ORDER BY id LIMIT $5

-- credential_count --
SELECT count(*) AS n FROM identity_user_credentials WHERE user_id = $1
