-- Leave to open a console of a server. Of the token only its SHA-256 is kept; a token holds for one placement on one host, and for the
-- address that the host gave for it.
CREATE TABLE console_tokens (
    hash         bytea PRIMARY KEY,
    instance_id  uuid NOT NULL REFERENCES instances (uuid) ON DELETE CASCADE,
    console_type text NOT NULL,
    user_id      text NOT NULL,
    host         text NOT NULL,
    generation   bigint NOT NULL,
    address      text NOT NULL,
    port         integer NOT NULL,
    tls_port     integer,
    expires_at   timestamptz NOT NULL
);
CREATE INDEX console_tokens_by_instance ON console_tokens (instance_id, expires_at DESC);
CREATE INDEX console_tokens_by_expiry ON console_tokens (expires_at);
