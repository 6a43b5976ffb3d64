-- What one cell holds: hosts with their inventories, servers, allocations, and the workflows that move them.

-- Small numbers that old microversions show for services and hypervisors.
CREATE SEQUENCE service_numbers;

CREATE TABLE hosts (
    id                  uuid PRIMARY KEY,              -- kept by the worker in its state directory; the hypervisor's id
    number              bigint NOT NULL DEFAULT nextval('service_numbers'),
    name                text NOT NULL CONSTRAINT hosts_name_key UNIQUE,
    service_id          uuid NOT NULL,
    address             text NOT NULL DEFAULT '',
    availability_zone   text NOT NULL DEFAULT 'nova',
    disabled            boolean NOT NULL DEFAULT false,
    disabled_reason     text,
    forced_down         boolean NOT NULL DEFAULT false,
    facts               jsonb NOT NULL DEFAULT '{}',
    traits              jsonb NOT NULL DEFAULT '[]',
    failed_builds       integer NOT NULL DEFAULT 0,
    created_at          timestamptz NOT NULL DEFAULT now(),
    updated_at          timestamptz NOT NULL DEFAULT now()   -- the last report that changed something
);

-- The application's own processes (nova-scheduler, nova-conductor), as os-services lists them.
CREATE TABLE processes (
    id                  uuid PRIMARY KEY,
    number              bigint NOT NULL DEFAULT nextval('service_numbers'),
    binary_name         text NOT NULL,
    host                text NOT NULL,
    disabled            boolean NOT NULL DEFAULT false,
    disabled_reason     text,
    seen_at             timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT processes_host_key UNIQUE (binary_name, host)
);

CREATE TABLE inventories (
    host_id             uuid NOT NULL REFERENCES hosts ON DELETE CASCADE,
    resource_class      text NOT NULL,                 -- VCPU, MEMORY_MB, DISK_GB, CUSTOM_*
    total               bigint NOT NULL,
    reserved            bigint NOT NULL DEFAULT 0,
    allocation_ratio    double precision NOT NULL DEFAULT 1,
    used                bigint NOT NULL DEFAULT 0 CHECK (used >= 0),
    PRIMARY KEY (host_id, resource_class)
);

CREATE TABLE instances (
    uuid                uuid PRIMARY KEY,
    number              bigint GENERATED ALWAYS AS IDENTITY,   -- instance-%08x
    project_id          text NOT NULL,
    user_id             text NOT NULL,
    reservation_id      text NOT NULL,
    launch_index        integer NOT NULL DEFAULT 0,
    display_name        text NOT NULL,
    display_description text,
    hostname            text NOT NULL,
    vm_state            text NOT NULL DEFAULT 'building',
    power_state         smallint NOT NULL DEFAULT 0,
    progress            smallint NOT NULL DEFAULT 0,
    host_id             uuid,
    host                text,
    node                text,
    generation          bigint NOT NULL DEFAULT 0,     -- grows with every placement
    availability_zone   text,
    pinned_zone         text,
    image_id            text,                          -- NULL: booted from a volume
    image_properties    jsonb NOT NULL DEFAULT '{}',
    kernel_id           text NOT NULL DEFAULT '',
    ramdisk_id          text NOT NULL DEFAULT '',
    flavor              jsonb NOT NULL,                -- as it was at the time of booting
    flavor_id           bigint NOT NULL,
    vcpus               integer NOT NULL,              -- counted by quotas
    memory_mb           integer NOT NULL,
    root_device_name    text,
    key_name            text,
    key_data            jsonb,                         -- {name, type, public_key}
    user_data           text,                          -- base64
    config_drive        boolean NOT NULL DEFAULT false,
    auto_disk_config    boolean NOT NULL DEFAULT true,
    access_ip_v4        text,
    access_ip_v6        text,
    locked_by           text,                          -- owner, admin
    locked_reason       text,
    metadata            jsonb NOT NULL DEFAULT '{}',
    system_metadata     jsonb NOT NULL DEFAULT '{}',
    tags                text[] NOT NULL DEFAULT '{}',
    scheduler_hints     jsonb NOT NULL DEFAULT '{}',
    network_requests    jsonb NOT NULL DEFAULT '[]',
    security_groups     jsonb NOT NULL DEFAULT '[]',
    block_devices       jsonb NOT NULL DEFAULT '[]',
    ports               jsonb NOT NULL DEFAULT '[]',   -- PortSpec, as bound
    trusted_certs       jsonb,
    injected_files      jsonb NOT NULL DEFAULT '[]',
    password_data       text NOT NULL DEFAULT '',      -- posted by the guest, encrypted by it
    fault               jsonb,                         -- {code, message, details, created}
    created_at          timestamptz NOT NULL DEFAULT now(),
    updated_at          timestamptz,
    launched_at         timestamptz,
    terminated_at       timestamptz,
    deleted             boolean NOT NULL DEFAULT false,
    CONSTRAINT instance_tags_count CHECK (cardinality(tags) <= 50)
);
CREATE INDEX instances_by_project ON instances (project_id, created_at DESC, uuid) WHERE NOT deleted;
CREATE INDEX instances_by_age ON instances (created_at DESC, uuid);
CREATE INDEX instances_by_host ON instances (host) WHERE NOT deleted;
CREATE INDEX instances_by_change ON instances (updated_at);

-- What a server (or a move of it) takes from a host.
CREATE TABLE allocations (
    consumer_id         uuid NOT NULL,                 -- the server
    host_id             uuid NOT NULL REFERENCES hosts,
    resource_class      text NOT NULL,
    amount              bigint NOT NULL CHECK (amount > 0),
    generation          bigint NOT NULL,               -- the placement it belongs to
    PRIMARY KEY (consumer_id, host_id, resource_class, generation)
);
CREATE INDEX allocations_by_host ON allocations (host_id);

-- Each operation is a row: which step is next, who works on it, what has been done.
CREATE TABLE workflows (
    id                  uuid PRIMARY KEY,
    kind                text NOT NULL,                 -- build, delete, stop ...
    subject_id          uuid NOT NULL,                 -- the server
    parent_id           uuid,
    state               text NOT NULL,                 -- queued, running, waiting, undoing, done, failed, cancelled
    step                text,                          -- the step that runs, is waited in, or is undone
    task_state          text,                          -- what the API shows meanwhile
    attempt             integer NOT NULL DEFAULT 0,    -- of the present step
    input               jsonb NOT NULL DEFAULT '{}',
    results             jsonb NOT NULL DEFAULT '{}',   -- step name -> what it returned
    history             jsonb NOT NULL DEFAULT '[]',   -- events: {step, start, finish, result, host, message, traceback}
    signal              text,                          -- cancel, delete ...
    error               jsonb,                         -- {kind, message, detail}
    context             jsonb NOT NULL,                -- who asked
    request_id          text NOT NULL,
    owner               text,                          -- the process that holds the lease
    lease_until         timestamptz,
    wake_at             timestamptz NOT NULL DEFAULT now(),
    deadline            timestamptz,
    point_of_no_return  boolean NOT NULL DEFAULT false,
    created_at          timestamptz NOT NULL DEFAULT now(),
    updated_at          timestamptz NOT NULL DEFAULT now(),
    finished_at         timestamptz,
    CONSTRAINT workflows_state CHECK (state IN ('queued', 'running', 'waiting', 'undoing', 'done', 'failed', 'cancelled'))
);
CREATE UNIQUE INDEX workflows_one_live_per_subject ON workflows (subject_id) WHERE state IN ('running', 'waiting', 'undoing');
CREATE UNIQUE INDEX workflows_one_queued_per_subject ON workflows (subject_id) WHERE state = 'queued';
CREATE INDEX workflows_by_subject ON workflows (subject_id, created_at DESC);
CREATE INDEX workflows_runnable ON workflows (wake_at) WHERE state IN ('running', 'waiting', 'undoing');
CREATE INDEX workflows_by_parent ON workflows (parent_id) WHERE parent_id IS NOT NULL;

-- Claim a host for a server: the first of the candidates that has room for all of it.
-- Returns that host's id, or NULL when none has room. The same claim repeated answers as before.
CREATE FUNCTION claim(consumer uuid, placement bigint, candidates uuid[], classes text[], amounts bigint[]) RETURNS uuid
LANGUAGE plpgsql AS $$
DECLARE
    candidate uuid;
    fitting integer;
BEGIN
    SELECT host_id INTO candidate FROM allocations WHERE consumer_id = consumer AND generation = placement LIMIT 1;
    IF FOUND THEN
        RETURN candidate;
    END IF;
    FOREACH candidate IN ARRAY candidates LOOP
        PERFORM 1 FROM inventories WHERE host_id = candidate AND resource_class = ANY (classes) ORDER BY resource_class FOR UPDATE;
        SELECT count(*) INTO fitting
        FROM unnest(classes, amounts) AS wanted (class, amount)
        JOIN inventories i ON i.host_id = candidate AND i.resource_class = wanted.class
        WHERE i.used + wanted.amount <= floor((i.total - i.reserved) * i.allocation_ratio)
          AND wanted.amount <= i.total;
        IF fitting = cardinality(classes) THEN
            UPDATE inventories i SET used = used + wanted.amount
            FROM unnest(classes, amounts) AS wanted (class, amount)
            WHERE i.host_id = candidate AND i.resource_class = wanted.class;
            INSERT INTO allocations (consumer_id, host_id, resource_class, amount, generation)
            SELECT consumer, candidate, wanted.class, wanted.amount, placement
            FROM unnest(classes, amounts) AS wanted (class, amount);
            RETURN candidate;
        END IF;
    END LOOP;
    RETURN NULL;
END $$;

-- Give back what a server holds up to and including one placement; returns how many rows went.
CREATE FUNCTION release(consumer uuid, placement bigint) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    gone integer;
BEGIN
    WITH freed AS (
        DELETE FROM allocations WHERE consumer_id = consumer AND generation <= placement RETURNING host_id, resource_class, amount
    ), summed AS (
        SELECT host_id, resource_class, sum(amount) AS amount, count(*) AS rows FROM freed GROUP BY 1, 2
    ), given AS (
        UPDATE inventories i SET used = used - s.amount FROM summed s
        WHERE i.host_id = s.host_id AND i.resource_class = s.resource_class RETURNING s.rows
    )
    SELECT coalesce(sum(rows), 0) INTO gone FROM given;
    RETURN gone;
END $$;
