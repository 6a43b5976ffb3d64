-- insert --
-- Note a certificate that is being made. $1 serial, $2 party, $3 alternatives, $4 issued at, $5 expires at
INSERT INTO certificates (serial, party, alternatives, issued_at, expires_at) VALUES ($1, $2, $3, $4, $5)

-- holds --
-- Whether a certificate was made here and not revoked since. $1 serial
SELECT EXISTS (SELECT FROM certificates WHERE serial = $1 AND revoked_at IS NULL)

-- list --
-- All of a time, or only those of one party. $1 now, $2 party (NULL: all)
SELECT serial, party, alternatives, issued_at, expires_at, revoked_at FROM certificates
WHERE expires_at > $1 AND ($2::text IS NULL OR party = $2) ORDER BY party, issued_at

-- revoke --
-- Those of a party, or one; what is revoked stays so since then. $1 party or serial, $2 now
UPDATE certificates SET revoked_at = $2 WHERE (party = $1 OR serial = $1) AND revoked_at IS NULL AND expires_at > $2
RETURNING serial, party, alternatives, issued_at, expires_at, revoked_at

-- revoked --
-- What belongs on the list of revoked ones: those that have not expired. $1 now
SELECT serial, party, alternatives, issued_at, expires_at, revoked_at FROM certificates
WHERE revoked_at IS NOT NULL AND expires_at > $1 ORDER BY revoked_at

-- forget --
-- Those that expired long ago. $1 before
DELETE FROM certificates WHERE expires_at < $1

-- allow --
-- Leave for a host to ask for a certificate. $1 token, $2 host, $3 alternatives, $4 public key, $5 expires at, $6 now: what is over goes
WITH over AS (DELETE FROM join_tokens WHERE expires_at < $6)
INSERT INTO join_tokens (id, host, alternatives, public_key, expires_at) VALUES ($1, $2, $3, $4, $5)

-- leave --
-- A token that holds, kept from other transactions. $1 token, $2 now
SELECT id, host, alternatives, public_key, expires_at FROM join_tokens WHERE id = $1 AND expires_at > $2 FOR UPDATE

-- used --
-- $1 token
DELETE FROM join_tokens WHERE id = $1
