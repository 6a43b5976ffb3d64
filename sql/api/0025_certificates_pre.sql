-- Certificates that the authority made, and leave for hosts to ask for one. Keys and requests are not kept.
CREATE TABLE certificates (
    serial text PRIMARY KEY,  -- hexadecimal
    party text NOT NULL,
    alternatives text[] NOT NULL,
    issued_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz
);
CREATE INDEX certificates_by_party ON certificates (party);
CREATE INDEX certificates_revoked ON certificates (revoked_at) WHERE revoked_at IS NOT NULL;

CREATE TABLE join_tokens (
    id text PRIMARY KEY,
    host text NOT NULL,
    alternatives text[] NOT NULL,
    public_key bytea NOT NULL,
    expires_at timestamptz NOT NULL
);
