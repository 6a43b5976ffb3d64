-- Limits of volumes by their type (Cinder's QoS specs); and whether somebody has said that a volume may be written, or may not.

CREATE TABLE volume_qos_specs (
    id         uuid PRIMARY KEY,
    name       text NOT NULL,
    consumer   text NOT NULL,                          -- front-end, back-end, both
    specs      jsonb NOT NULL DEFAULT '{}',            -- texts
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT volume_qos_specs_name_key UNIQUE (name)
);

ALTER TABLE volume_types ADD COLUMN qos_specs_id uuid CONSTRAINT volume_types_qos_specs_fkey REFERENCES volume_qos_specs;

ALTER TABLE volumes ALTER COLUMN read_only DROP NOT NULL, ALTER COLUMN read_only DROP DEFAULT;
UPDATE volumes SET read_only = NULL WHERE NOT read_only;
