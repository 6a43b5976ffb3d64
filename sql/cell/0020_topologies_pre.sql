-- What servers were given of their hosts' NUMA cells, CPUs, pages and PCI devices, per placement. It comes and goes with the claim.

CREATE TABLE topologies (
    consumer_id uuid NOT NULL,
    generation bigint NOT NULL,
    host_id uuid NOT NULL REFERENCES hosts (id),
    fit jsonb NOT NULL,  -- model.topology.Fit
    PRIMARY KEY (consumer_id, generation)
);
CREATE INDEX topologies_by_host ON topologies (host_id);

-- Things that one guest has for itself: cpu/3, pci/0000:01:00.0. The key lets nobody share them, whoever races.
CREATE TABLE exclusive_claims (
    host_id uuid NOT NULL,
    thing text NOT NULL,
    consumer_id uuid NOT NULL,
    generation bigint NOT NULL,
    PRIMARY KEY (host_id, thing),
    FOREIGN KEY (consumer_id, generation) REFERENCES topologies (consumer_id, generation) ON DELETE CASCADE ON UPDATE CASCADE
);
CREATE INDEX exclusive_claims_by_consumer ON exclusive_claims (consumer_id, generation);

CREATE OR REPLACE FUNCTION release(consumer uuid, placement bigint) RETURNS integer
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
    DELETE FROM topologies WHERE consumer_id = consumer AND generation <= placement;
    RETURN gone;
END $$;

CREATE OR REPLACE FUNCTION release_one(consumer uuid, placement bigint) RETURNS integer
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
    DELETE FROM topologies WHERE consumer_id = consumer AND generation = placement;
    RETURN gone;
END $$;
