-- Host aggregates, and server groups with their members.

CREATE TABLE aggregates (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    uuid            uuid NOT NULL,
    name            text NOT NULL CONSTRAINT aggregates_name_key UNIQUE,
    metadata        jsonb NOT NULL DEFAULT '{}',  -- availability_zone: the zone of its hosts
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz
);

CREATE TABLE aggregate_hosts (
    aggregate_id    bigint NOT NULL REFERENCES aggregates ON DELETE CASCADE,
    host            text NOT NULL,
    CONSTRAINT aggregate_hosts_key PRIMARY KEY (aggregate_id, host)
);
CREATE INDEX aggregate_hosts_by_host ON aggregate_hosts (host);

CREATE TABLE server_groups (
    number              bigint GENERATED ALWAYS AS IDENTITY,   -- the order in which they are listed
    id                  uuid PRIMARY KEY,
    project_id          text NOT NULL,
    user_id             text NOT NULL,
    name                text NOT NULL,
    policy              text NOT NULL,
    max_server_per_host integer,                               -- of anti-affinity; NULL: 1, and not shown
    created_at          timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT server_groups_policy CHECK (policy IN ('affinity', 'anti-affinity', 'soft-affinity', 'soft-anti-affinity'))
);
CREATE INDEX server_groups_by_project ON server_groups (project_id, number);

-- A server is in one group at most, from its creation to its end.
CREATE TABLE server_group_members (
    instance_id     uuid PRIMARY KEY,
    group_id        uuid NOT NULL CONSTRAINT server_group_members_group_fkey REFERENCES server_groups ON DELETE CASCADE,
    number          bigint GENERATED ALWAYS AS IDENTITY
);
CREATE INDEX server_group_members_by_group ON server_group_members (group_id, number);
