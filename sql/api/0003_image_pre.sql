-- The built-in image service: records here, bytes in files named by data_id.

CREATE TABLE images (
    id               uuid PRIMARY KEY,
    name             text,
    status           text NOT NULL DEFAULT 'queued',
    visibility       text NOT NULL DEFAULT 'shared',
    owner            text NOT NULL,
    disk_format      text,
    container_format text,
    size             bigint,                       -- bytes
    virtual_size     bigint,                       -- bytes
    checksum         text,                         -- md5
    os_hash_algo     text,
    os_hash_value    text,
    min_disk         integer NOT NULL DEFAULT 0,   -- GiB
    min_ram          integer NOT NULL DEFAULT 0,   -- MiB
    protected        boolean NOT NULL DEFAULT false,
    os_hidden        boolean NOT NULL DEFAULT false,
    tags             text[] NOT NULL DEFAULT '{}',
    properties       jsonb NOT NULL DEFAULT '{}',
    upload_id        uuid,                         -- the upload under way; its temporary file has this name and is locked
    data_id          uuid,                         -- the file of complete, inspected bytes
    created_at       timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL,
    CONSTRAINT images_status_known CHECK (status IN ('queued', 'saving', 'uploading', 'active', 'deactivated')),
    CONSTRAINT images_visibility_known CHECK (visibility IN ('public', 'private', 'shared', 'community')),
    CONSTRAINT images_usable_have_data CHECK (status NOT IN ('active', 'deactivated') OR (data_id IS NOT NULL AND upload_id IS NULL))
);

CREATE INDEX images_owner ON images (owner);
CREATE INDEX images_name ON images (name);
CREATE INDEX images_created ON images (created_at, id);
CREATE INDEX images_uploads ON images (upload_id) WHERE upload_id IS NOT NULL;

CREATE TABLE image_members (
    image_id    uuid NOT NULL REFERENCES images ON DELETE CASCADE,
    member      text NOT NULL,                     -- a project
    status      text NOT NULL DEFAULT 'pending',
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    CONSTRAINT image_members_key PRIMARY KEY (image_id, member),
    CONSTRAINT image_members_status_known CHECK (status IN ('pending', 'accepted', 'rejected'))
);

CREATE INDEX image_members_member ON image_members (member);
