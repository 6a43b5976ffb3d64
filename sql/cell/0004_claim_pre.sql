-- Claims that pass over a full host give its locks back at once: two claims that look at the same hosts in different order
-- then never wait for each other.

CREATE OR REPLACE FUNCTION claim(consumer uuid, placement bigint, candidates uuid[], classes text[], amounts bigint[]) RETURNS uuid
LANGUAGE plpgsql AS $$
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
END $$;
