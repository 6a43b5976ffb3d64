-- The present schema "cell": the sum of sql/cell/*.sql, where the reasons are.
-- Written by `python -m nova_async.db.present`; do not edit.

CREATE SEQUENCE service_numbers AS bigint;

CREATE TABLE hosts (
    id                uuid NOT NULL,
    number            bigint NOT NULL DEFAULT nextval('service_numbers'::regclass),
    name              text NOT NULL,
    service_id        uuid NOT NULL,
    address           text NOT NULL DEFAULT ''::text,
    availability_zone text NOT NULL DEFAULT 'nova'::text,
    disabled          boolean NOT NULL DEFAULT false,
    disabled_reason   text,
    forced_down       boolean NOT NULL DEFAULT false,
    facts             jsonb NOT NULL DEFAULT '{}'::jsonb,
    traits            jsonb NOT NULL DEFAULT '[]'::jsonb,
    failed_builds     integer NOT NULL DEFAULT 0,
    created_at        timestamp with time zone NOT NULL DEFAULT now(),
    updated_at        timestamp with time zone NOT NULL DEFAULT now(),
    own_zone          text NOT NULL DEFAULT 'nova'::text,
    CONSTRAINT hosts_pkey PRIMARY KEY (id),
    CONSTRAINT hosts_name_key UNIQUE (name)
);

CREATE TABLE processes (
    id              uuid NOT NULL,
    number          bigint NOT NULL DEFAULT nextval('service_numbers'::regclass),
    binary_name     text NOT NULL,
    host            text NOT NULL,
    disabled        boolean NOT NULL DEFAULT false,
    disabled_reason text,
    seen_at         timestamp with time zone NOT NULL DEFAULT now(),
    CONSTRAINT processes_pkey PRIMARY KEY (id),
    CONSTRAINT processes_host_key UNIQUE (binary_name, host)
);

CREATE TABLE inventories (
    host_id          uuid NOT NULL,
    resource_class   text NOT NULL,
    total            bigint NOT NULL,
    reserved         bigint NOT NULL DEFAULT 0,
    allocation_ratio double precision NOT NULL DEFAULT 1,
    used             bigint NOT NULL DEFAULT 0,
    CONSTRAINT inventories_pkey PRIMARY KEY (host_id, resource_class),
    CONSTRAINT inventories_used_check CHECK (used >= 0),
    CONSTRAINT inventories_host_id_fkey FOREIGN KEY (host_id) REFERENCES hosts(id) ON DELETE CASCADE
);

CREATE TABLE instances (
    uuid                uuid NOT NULL,
    number              bigint GENERATED ALWAYS AS IDENTITY,
    project_id          text NOT NULL,
    user_id             text NOT NULL,
    reservation_id      text NOT NULL,
    launch_index        integer NOT NULL DEFAULT 0,
    display_name        text NOT NULL,
    display_description text,
    hostname            text NOT NULL,
    vm_state            text NOT NULL DEFAULT 'building'::text,
    power_state         smallint NOT NULL DEFAULT 0,
    progress            smallint NOT NULL DEFAULT 0,
    host_id             uuid,
    host                text,
    node                text,
    generation          bigint NOT NULL DEFAULT 0,
    availability_zone   text,
    pinned_zone         text,
    image_id            text,
    image_properties    jsonb NOT NULL DEFAULT '{}'::jsonb,
    kernel_id           text NOT NULL DEFAULT ''::text,
    ramdisk_id          text NOT NULL DEFAULT ''::text,
    flavor              jsonb NOT NULL,
    flavor_id           bigint NOT NULL,
    vcpus               integer NOT NULL,
    memory_mb           integer NOT NULL,
    root_device_name    text,
    key_name            text,
    key_data            jsonb,
    user_data           text,
    config_drive        boolean NOT NULL DEFAULT false,
    auto_disk_config    boolean NOT NULL DEFAULT true,
    access_ip_v4        text,
    access_ip_v6        text,
    locked_by           text,
    locked_reason       text,
    metadata            jsonb NOT NULL DEFAULT '{}'::jsonb,
    system_metadata     jsonb NOT NULL DEFAULT '{}'::jsonb,
    tags                text[] NOT NULL DEFAULT '{}'::text[],
    scheduler_hints     jsonb NOT NULL DEFAULT '{}'::jsonb,
    network_requests    jsonb NOT NULL DEFAULT '[]'::jsonb,
    security_groups     jsonb NOT NULL DEFAULT '[]'::jsonb,
    block_devices       jsonb NOT NULL DEFAULT '[]'::jsonb,
    ports               jsonb NOT NULL DEFAULT '[]'::jsonb,
    trusted_certs       jsonb,
    injected_files      jsonb NOT NULL DEFAULT '[]'::jsonb,
    password_data       text NOT NULL DEFAULT ''::text,
    fault               jsonb,
    created_at          timestamp with time zone NOT NULL DEFAULT now(),
    updated_at          timestamp with time zone,
    launched_at         timestamp with time zone,
    terminated_at       timestamp with time zone,
    deleted             boolean NOT NULL DEFAULT false,
    newest_generation   bigint NOT NULL DEFAULT 0,
    move_id             uuid,
    old_host_id         uuid,
    old_host            text,
    old_node            text,
    old_zone            text,
    old_generation      bigint,
    old_flavor          jsonb,
    old_flavor_id       bigint,
    old_vm_state        text,
    resized_at          timestamp with time zone,
    soft_deleted_at     timestamp with time zone,
    CONSTRAINT instances_pkey PRIMARY KEY (uuid),
    CONSTRAINT instance_tags_count CHECK (cardinality(tags) <= 50)
);
CREATE INDEX instances_by_age ON instances USING btree (created_at DESC, uuid);
CREATE INDEX instances_by_change ON instances USING btree (updated_at);
CREATE INDEX instances_by_host ON instances USING btree (host) WHERE NOT deleted;
CREATE INDEX instances_by_old_host ON instances USING btree (old_host) WHERE old_host IS NOT NULL;
CREATE INDEX instances_by_owner ON instances USING btree (project_id, uuid);
CREATE INDEX instances_by_project ON instances USING btree (project_id, created_at DESC, uuid) WHERE NOT deleted;
CREATE INDEX instances_resized ON instances USING btree (resized_at) WHERE resized_at IS NOT NULL;
CREATE INDEX instances_soft_deleted ON instances USING btree (soft_deleted_at) WHERE soft_deleted_at IS NOT NULL;
CREATE INDEX instances_usage ON instances USING btree (project_id) INCLUDE (vcpus, memory_mb) WHERE NOT deleted;

CREATE TABLE allocations (
    consumer_id    uuid NOT NULL,
    host_id        uuid NOT NULL,
    resource_class text NOT NULL,
    amount         bigint NOT NULL,
    generation     bigint NOT NULL,
    CONSTRAINT allocations_pkey PRIMARY KEY (consumer_id, host_id, resource_class, generation),
    CONSTRAINT allocations_amount_check CHECK (amount > 0),
    CONSTRAINT allocations_host_id_fkey FOREIGN KEY (host_id) REFERENCES hosts(id)
);
CREATE INDEX allocations_by_host ON allocations USING btree (host_id);

CREATE TABLE workflows (
    id                 uuid NOT NULL,
    kind               text NOT NULL,
    subject_id         uuid NOT NULL,
    parent_id          uuid,
    state              text NOT NULL,
    step               text,
    task_state         text,
    attempt            integer NOT NULL DEFAULT 0,
    input              jsonb NOT NULL DEFAULT '{}'::jsonb,
    results            jsonb NOT NULL DEFAULT '{}'::jsonb,
    history            jsonb NOT NULL DEFAULT '[]'::jsonb,
    signal             text,
    error              jsonb,
    context            jsonb NOT NULL,
    request_id         text NOT NULL,
    owner              text,
    lease_until        timestamp with time zone,
    wake_at            timestamp with time zone NOT NULL DEFAULT now(),
    deadline           timestamp with time zone,
    point_of_no_return boolean NOT NULL DEFAULT false,
    created_at         timestamp with time zone NOT NULL DEFAULT now(),
    updated_at         timestamp with time zone NOT NULL DEFAULT now(),
    finished_at        timestamp with time zone,
    number             bigint GENERATED ALWAYS AS IDENTITY,
    CONSTRAINT workflows_pkey PRIMARY KEY (id),
    CONSTRAINT workflows_state CHECK (state = ANY (ARRAY['queued'::text, 'running'::text, 'waiting'::text, 'undoing'::text, 'done'::text, 'failed'::text, 'cancelled'::text]))
);
CREATE INDEX workflows_by_parent ON workflows USING btree (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX workflows_by_subject ON workflows USING btree (subject_id, created_at DESC);
CREATE INDEX workflows_moves ON workflows USING btree (created_at DESC, number) WHERE kind = ANY (ARRAY['resize'::text, 'migrate'::text, 'live-migration'::text, 'evacuate'::text]);
CREATE UNIQUE INDEX workflows_one_live_per_subject ON workflows USING btree (subject_id) WHERE state = ANY (ARRAY['running'::text, 'waiting'::text, 'undoing'::text]);
CREATE UNIQUE INDEX workflows_one_queued_per_subject ON workflows USING btree (subject_id) WHERE state = 'queued'::text;
CREATE INDEX workflows_runnable ON workflows USING btree (wake_at) WHERE state = ANY (ARRAY['running'::text, 'waiting'::text, 'undoing'::text]);

CREATE TABLE usage_audits (
    host         text NOT NULL,
    period_begin timestamp with time zone NOT NULL,
    period_end   timestamp with time zone NOT NULL,
    instances    bigint NOT NULL,
    errors       bigint NOT NULL DEFAULT 0,
    message      text NOT NULL DEFAULT ''::text,
    finished_at  timestamp with time zone NOT NULL DEFAULT now(),
    CONSTRAINT usage_audits_key PRIMARY KEY (period_begin, period_end, host)
);

CREATE TABLE topologies (
    consumer_id uuid NOT NULL,
    generation  bigint NOT NULL,
    host_id     uuid NOT NULL,
    fit         jsonb NOT NULL,
    CONSTRAINT topologies_pkey PRIMARY KEY (consumer_id, generation),
    CONSTRAINT topologies_host_id_fkey FOREIGN KEY (host_id) REFERENCES hosts(id)
);
CREATE INDEX topologies_by_host ON topologies USING btree (host_id);

CREATE TABLE exclusive_claims (
    host_id     uuid NOT NULL,
    thing       text NOT NULL,
    consumer_id uuid NOT NULL,
    generation  bigint NOT NULL,
    CONSTRAINT exclusive_claims_pkey PRIMARY KEY (host_id, thing),
    CONSTRAINT exclusive_claims_consumer_id_generation_fkey FOREIGN KEY (consumer_id, generation) REFERENCES topologies(consumer_id, generation) ON UPDATE CASCADE ON DELETE CASCADE
);
CREATE INDEX exclusive_claims_by_consumer ON exclusive_claims USING btree (consumer_id, generation);

CREATE TABLE console_tokens (
    hash         bytea NOT NULL,
    instance_id  uuid NOT NULL,
    console_type text NOT NULL,
    user_id      text NOT NULL,
    host         text NOT NULL,
    generation   bigint NOT NULL,
    address      text NOT NULL,
    port         integer NOT NULL,
    tls_port     integer,
    expires_at   timestamp with time zone NOT NULL,
    CONSTRAINT console_tokens_pkey PRIMARY KEY (hash),
    CONSTRAINT console_tokens_instance_id_fkey FOREIGN KEY (instance_id) REFERENCES instances(uuid) ON DELETE CASCADE
);
CREATE INDEX console_tokens_by_expiry ON console_tokens USING btree (expires_at);
CREATE INDEX console_tokens_by_instance ON console_tokens USING btree (instance_id, expires_at DESC);

CREATE TABLE notifications (
    number       bigint GENERATED ALWAYS AS IDENTITY,
    message_id   uuid NOT NULL,
    event_type   text NOT NULL,
    publisher_id text NOT NULL,
    facts        jsonb NOT NULL,
    created_at   timestamp with time zone NOT NULL DEFAULT now(),
    CONSTRAINT notifications_pkey PRIMARY KEY (number)
);

CREATE OR REPLACE FUNCTION claim(consumer uuid, placement bigint, candidates uuid[], classes text[], amounts bigint[])
 RETURNS uuid
 LANGUAGE plpgsql
AS $function$
DECLARE
    candidate uuid;
    taken integer;
BEGIN
    SELECT host_id INTO candidate FROM allocations WHERE consumer_id = consumer AND generation = placement LIMIT 1;
    IF FOUND THEN
        RETURN candidate;
    END IF;
    FOREACH candidate IN ARRAY candidates LOOP
        BEGIN
            PERFORM 1 FROM inventories WHERE host_id = candidate AND resource_class = ANY (classes) ORDER BY resource_class FOR UPDATE;
            UPDATE inventories i SET used = used + wanted.amount
            FROM unnest(classes, amounts) AS wanted (class, amount)
            WHERE i.host_id = candidate AND i.resource_class = wanted.class
              AND i.used + wanted.amount <= floor((i.total - i.reserved) * i.allocation_ratio) AND wanted.amount <= i.total;
            GET DIAGNOSTICS taken = ROW_COUNT;
            IF taken < cardinality(classes) THEN
                RAISE SQLSTATE 'NA001';
            END IF;
            INSERT INTO allocations (consumer_id, host_id, resource_class, amount, generation)
            SELECT consumer, candidate, wanted.class, wanted.amount, placement
            FROM unnest(classes, amounts) AS wanted (class, amount);
            RETURN candidate;
        EXCEPTION WHEN SQLSTATE 'NA001' THEN
            NULL; -- no room: what was locked and taken here is given back
        END;
    END LOOP;
    RETURN NULL;
END $function$;

CREATE OR REPLACE FUNCTION release(consumer uuid, placement bigint)
 RETURNS integer
 LANGUAGE plpgsql
AS $function$
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
    DELETE FROM topologies WHERE consumer_id = consumer AND generation <= placement;
    RETURN gone;
END $function$;

CREATE OR REPLACE FUNCTION release_one(consumer uuid, placement bigint)
 RETURNS integer
 LANGUAGE plpgsql
AS $function$
DECLARE
    gone integer;
BEGIN
    WITH freed AS (
        DELETE FROM allocations WHERE consumer_id = consumer AND generation = placement RETURNING host_id, resource_class, amount
    ), given AS (
        UPDATE inventories i SET used = used - f.amount FROM freed f
        WHERE i.host_id = f.host_id AND i.resource_class = f.resource_class RETURNING f.amount
    )
    SELECT count(*) INTO gone FROM given;
    DELETE FROM topologies WHERE consumer_id = consumer AND generation = placement;
    RETURN gone;
END $function$;
