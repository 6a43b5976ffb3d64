-- keys --
SELECT id, secret FROM identity_keys ORDER BY id

-- key_insert --
INSERT INTO identity_keys (secret) VALUES ($1)

-- revoke --
-- The subjects $1 are over as they were until now; kept for $2 seconds.
INSERT INTO identity_revocations (subject, epoch, until)
SELECT s, nextval('identity_epochs'), now() + make_interval(secs => $2) FROM unnest($1::text[]) s ORDER BY s
ON CONFLICT (subject) DO UPDATE SET epoch = nextval('identity_epochs'), until = excluded.until
RETURNING subject, epoch

-- revocations --
SELECT subject, epoch FROM identity_revocations

-- revocations_of --
-- The present epochs of the subjects $1; those never revoked are absent.
SELECT subject, epoch FROM identity_revocations WHERE subject = ANY ($1::text[])

-- revocations_digest --
-- Changes whenever a row does, in whatever order transactions commit.
SELECT count(*) || ':' || coalesce(sum(epoch), 0) AS digest FROM identity_revocations

-- revocations_expire --
DELETE FROM identity_revocations WHERE until < now()
