-- Volumes of which the volume's machine and its hosts' wires have ciphertext alone (LUKS).

CREATE TABLE volume_type_encryptions (
    type_id          uuid PRIMARY KEY REFERENCES volume_types ON DELETE CASCADE,
    id               uuid NOT NULL,
    provider         text NOT NULL,
    control_location text NOT NULL,                    -- front-end, back-end
    cipher           text,
    key_size         integer,                          -- bits
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz
);

ALTER TABLE volumes ADD COLUMN sealed_key bytea;       -- what opens an encrypted volume, sealed with the volume service's own key
