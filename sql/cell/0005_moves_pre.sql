-- A server on its way: where it came from until the move is confirmed, and how far its placements have been counted.

ALTER TABLE instances
    ADD COLUMN newest_generation bigint NOT NULL DEFAULT 0,  -- the highest placement ever given, those of failed moves included
    ADD COLUMN move_id uuid,                                 -- the workflow that resized it; all old_* until it is confirmed or reverted
    ADD COLUMN old_host_id uuid,
    ADD COLUMN old_host text,
    ADD COLUMN old_node text,
    ADD COLUMN old_zone text,
    ADD COLUMN old_generation bigint,                        -- its claim stays
    ADD COLUMN old_flavor jsonb,
    ADD COLUMN old_flavor_id bigint,
    ADD COLUMN old_vm_state text,                            -- of a resized server, or of a soft-deleted one
    ADD COLUMN resized_at timestamptz,
    ADD COLUMN soft_deleted_at timestamptz;

CREATE INDEX instances_by_old_host ON instances (old_host) WHERE old_host IS NOT NULL;
CREATE INDEX instances_resized ON instances (resized_at) WHERE resized_at IS NOT NULL;
CREATE INDEX instances_soft_deleted ON instances (soft_deleted_at) WHERE soft_deleted_at IS NOT NULL;

-- The number by which os-migrations names an operation.
ALTER TABLE workflows ADD COLUMN number bigint GENERATED ALWAYS AS IDENTITY;
CREATE INDEX workflows_moves ON workflows (created_at DESC, number) WHERE kind IN ('resize', 'migrate', 'live-migration', 'evacuate');

-- Give back what a server holds by one placement only; returns how many rows went.
CREATE FUNCTION release_one(consumer uuid, placement bigint) RETURNS integer
LANGUAGE plpgsql AS $$
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
    RETURN gone;
END $$;
