-- The built-in volume service: records here, bytes in raw files named by the volume's or the snapshot's id.

CREATE TABLE volume_types (
    id           uuid PRIMARY KEY,
    name         text NOT NULL,
    description  text,
    is_public    boolean NOT NULL DEFAULT true,
    is_default   boolean NOT NULL DEFAULT false,
    extra_specs  jsonb NOT NULL DEFAULT '{}',
    projects     text[] NOT NULL DEFAULT '{}',         -- who may use one that is not public
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz,
    CONSTRAINT volume_types_name_key UNIQUE (name)
);
CREATE UNIQUE INDEX volume_types_default ON volume_types (is_default) WHERE is_default;

CREATE TABLE volumes (
    id                uuid PRIMARY KEY,
    project_id        text NOT NULL,
    user_id           text NOT NULL,
    name              text,
    description       text,
    size              integer NOT NULL,                -- GiB
    status            text NOT NULL,
    status_before     text,                            -- of what an upload or an extension goes back to
    availability_zone text NOT NULL,
    type_id           uuid NOT NULL,
    bootable          boolean NOT NULL DEFAULT false,
    multiattach       boolean NOT NULL DEFAULT false,
    read_only         boolean NOT NULL DEFAULT false,
    metadata          jsonb NOT NULL DEFAULT '{}',
    image_metadata    jsonb NOT NULL DEFAULT '{}',     -- of the image that it was made from
    snapshot_id       uuid,                            -- what it was made from; may be gone by now
    source_volume_id  uuid,
    created_at        timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz,
    CONSTRAINT volumes_size_positive CHECK (size > 0),
    CONSTRAINT volumes_type_fkey FOREIGN KEY (type_id) REFERENCES volume_types
);
CREATE INDEX volumes_by_project ON volumes (project_id, created_at DESC, id);

CREATE TABLE volume_snapshots (
    id          uuid PRIMARY KEY,
    volume_id   uuid NOT NULL,
    project_id  text NOT NULL,
    user_id     text NOT NULL,
    name        text,
    description text,
    size        integer NOT NULL,                      -- GiB
    status      text NOT NULL,
    metadata    jsonb NOT NULL DEFAULT '{}',
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz,
    CONSTRAINT volume_snapshots_volume_fkey FOREIGN KEY (volume_id) REFERENCES volumes
);
CREATE INDEX volume_snapshots_by_project ON volume_snapshots (project_id, created_at DESC, id);
CREATE INDEX volume_snapshots_by_volume ON volume_snapshots (volume_id);

CREATE TABLE volume_attachments (
    id          uuid PRIMARY KEY,
    volume_id   uuid NOT NULL,
    instance_id uuid,                                  -- null: attached to a host by hand
    shared      boolean NOT NULL,                      -- as the volume's multiattach
    status      text NOT NULL,                         -- reserved, attaching, attached
    mode        text NOT NULL DEFAULT 'rw',
    connector   jsonb,                                 -- what the host told of itself
    mountpoint  text,
    secret      text,                                  -- of the export that another host reads it by
    attached_at timestamptz,
    created_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT volume_attachments_volume_fkey FOREIGN KEY (volume_id) REFERENCES volumes
);
CREATE UNIQUE INDEX volume_attachments_one ON volume_attachments (volume_id) WHERE NOT shared;
CREATE UNIQUE INDEX volume_attachments_pair ON volume_attachments (volume_id, instance_id);
CREATE INDEX volume_attachments_by_instance ON volume_attachments (instance_id);

-- Work on bytes that is under way. Whoever holds the lease does it; a lease that lapsed is taken over.
CREATE TABLE volume_jobs (
    id          uuid PRIMARY KEY,
    volume_id   uuid NOT NULL REFERENCES volumes ON DELETE CASCADE,
    snapshot_id uuid REFERENCES volume_snapshots ON DELETE CASCADE,
    kind        text NOT NULL,
    input       jsonb NOT NULL DEFAULT '{}',
    context     jsonb NOT NULL,
    tries       integer NOT NULL DEFAULT 0,
    owner       text,
    until       timestamptz NOT NULL DEFAULT now(),
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX volume_jobs_by_time ON volume_jobs (until);

CREATE TABLE volume_quotas (
    project_id text NOT NULL,                          -- or 'class:default'
    resource   text NOT NULL,
    hard_limit integer NOT NULL,
    PRIMARY KEY (project_id, resource)
);

-- What went wrong with somebody's volume, for its owner to read.
CREATE TABLE volume_messages (
    id            uuid PRIMARY KEY,
    project_id    text NOT NULL,
    request_id    text NOT NULL,
    resource_type text NOT NULL,
    resource_id   uuid NOT NULL,
    event         text NOT NULL,
    message       text NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX volume_messages_by_project ON volume_messages (project_id, created_at DESC, id);
