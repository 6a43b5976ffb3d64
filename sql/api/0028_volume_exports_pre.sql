-- Ways by which other hosts reach volumes that are files, one for each attachment.

CREATE TABLE volume_exports (
    attachment_id uuid PRIMARY KEY REFERENCES volume_attachments ON DELETE CASCADE,
    exporter      text NOT NULL,                       -- the machine that has the file, and runs the process
    address       text NOT NULL,
    port          integer NOT NULL,
    peer          text NOT NULL,                       -- the host that it is for
    party         text,                                -- whose certificate opens it; null: the attachment's secret does
    size          integer NOT NULL,                    -- GiB, as it is shown there
    CONSTRAINT volume_exports_port UNIQUE (exporter, port)
);

-- While a server moves, both hosts reach its volumes: the attachment for the host that it moves to stands beside the first.
ALTER TABLE volume_attachments ADD COLUMN moving boolean NOT NULL DEFAULT false;
DROP INDEX volume_attachments_one;
DROP INDEX volume_attachments_pair;
CREATE UNIQUE INDEX volume_attachments_one ON volume_attachments (volume_id) WHERE NOT shared AND NOT moving;
CREATE UNIQUE INDEX volume_attachments_pair ON volume_attachments (volume_id, instance_id, moving);
