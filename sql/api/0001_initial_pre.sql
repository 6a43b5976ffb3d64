-- What all cells share: flavors, key pairs, quotas, aggregates.

CREATE TABLE flavors (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    flavorid        text NOT NULL CONSTRAINT flavors_flavorid_key UNIQUE,
    name            text NOT NULL CONSTRAINT flavors_name_key UNIQUE,
    memory_mb       integer NOT NULL,
    vcpus           integer NOT NULL,
    root_gb         integer NOT NULL,
    ephemeral_gb    integer NOT NULL DEFAULT 0,
    swap            integer NOT NULL DEFAULT 0,   -- MiB
    rxtx_factor     double precision NOT NULL DEFAULT 1,
    is_public       boolean NOT NULL DEFAULT true,
    disabled        boolean NOT NULL DEFAULT false,
    description     text,
    extra_specs     jsonb NOT NULL DEFAULT '{}',
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz
);

CREATE TABLE flavor_access (
    flavor_id       bigint NOT NULL REFERENCES flavors ON DELETE CASCADE,
    project_id      text NOT NULL,
    CONSTRAINT flavor_access_key PRIMARY KEY (flavor_id, project_id)
);

CREATE TABLE keypairs (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id         text NOT NULL,
    name            text NOT NULL,
    type            text NOT NULL,                -- ssh, x509
    public_key      text NOT NULL,
    fingerprint     text NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT keypairs_user_name_key UNIQUE (user_id, name)
);

-- A limit set by an operator. user_id '' is the project's; project_id '' is the class "default".
CREATE TABLE quotas (
    project_id      text NOT NULL,
    user_id         text NOT NULL DEFAULT '',
    resource        text NOT NULL,
    hard_limit      integer NOT NULL,
    PRIMARY KEY (project_id, user_id, resource)
);
