-- Volumes that their projects offer to whoever knows the key.

CREATE TABLE volume_transfers (
    id           uuid PRIMARY KEY,
    volume_id    uuid NOT NULL REFERENCES volumes ON DELETE CASCADE,
    name         text,
    key_digest   bytea NOT NULL,                       -- SHA-256 of the key, which is told once
    no_snapshots boolean NOT NULL,                     -- the snapshots stay with the project that gives
    created_at   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT volume_transfers_volume_key UNIQUE (volume_id)
);
