-- A host is in the zone that an aggregate gives it, else in its own: availability_zone is the outcome.
ALTER TABLE hosts ADD COLUMN own_zone text NOT NULL DEFAULT 'nova';
UPDATE hosts SET own_zone = availability_zone;
