-- Ranges that projects take subnets from, of any length within bounds.

CREATE TABLE subnet_pools (
    id              uuid PRIMARY KEY,
    project_id      text NOT NULL,
    name            text NOT NULL DEFAULT '',
    description     text NOT NULL DEFAULT '',
    prefixes        cidr[] NOT NULL,                   -- apart from each other, in order
    ip_version      integer NOT NULL CHECK (ip_version IN (4, 6)),
    default_prefix  integer NOT NULL,
    min_prefix      integer NOT NULL,
    max_prefix      integer NOT NULL,
    default_quota   integer,                           -- of each project, in addresses, or for IPv6 in ranges of 64 bits; null: none
    shared          boolean NOT NULL DEFAULT false,
    is_default      boolean NOT NULL DEFAULT false,
    tags            text[] NOT NULL DEFAULT '{}',
    revision        integer NOT NULL DEFAULT 1,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz,
    CHECK (min_prefix <= default_prefix AND default_prefix <= max_prefix)
);
CREATE INDEX subnet_pools_project ON subnet_pools (project_id);
CREATE UNIQUE INDEX subnet_pools_one_default ON subnet_pools (ip_version) WHERE is_default;

ALTER TABLE subnets ADD COLUMN subnet_pool uuid CONSTRAINT subnets_pool_fkey REFERENCES subnet_pools;
CREATE INDEX subnets_pool ON subnets (subnet_pool) WHERE subnet_pool IS NOT NULL;
