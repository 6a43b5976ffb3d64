-- What an administrator says of the processes of the volume service, and how far a snapshot is, where a host tells it.

CREATE TABLE volume_services (
    name       text PRIMARY KEY,                       -- cinder-volume, cinder-scheduler
    disabled   boolean NOT NULL DEFAULT false,
    reason     text
);

ALTER TABLE volume_snapshots ADD COLUMN progress text;
