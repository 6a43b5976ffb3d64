-- lock --
-- What a host reports of its cells and devices; nobody else fits a guest there until the transaction ends. $1 host
SELECT coalesce(facts -> 'topology', '{}') AS topology FROM hosts WHERE id = $1 FOR NO KEY UPDATE

-- held --
-- What was given of a host. In a statement after lock. $1 host
SELECT fit FROM topologies WHERE host_id = $1

-- insert --
-- Give a server what it was fitted with, and the things it has for itself. $1 server, $2 placement, $3 host, $4 fit, $5 things
WITH given AS (
    INSERT INTO topologies (consumer_id, generation, host_id, fit) VALUES ($1, $2, $3, $4)
    RETURNING consumer_id, generation, host_id
)
INSERT INTO exclusive_claims (host_id, thing, consumer_id, generation)
SELECT g.host_id, t.thing, g.consumer_id, g.generation FROM given g, unnest($5::text[]) AS t (thing)

-- of --
-- What a placement of a server was given, and where. $1 server, $2 placement
SELECT host_id, fit FROM topologies WHERE consumer_id = $1 AND generation = $2

-- violations --
-- Placements whose claim and topology disagree, and things that belong to no topology. No rows: the books balance.
SELECT t.consumer_id AS instance_id, 'a topology without a claim'::text AS problem FROM topologies t
WHERE NOT EXISTS (SELECT FROM allocations a WHERE a.consumer_id = t.consumer_id AND a.generation = t.generation AND a.host_id = t.host_id)
UNION ALL
SELECT i.uuid, 'a server of host ' || i.host || ' is to have CPUs of its own and has none' FROM instances i
WHERE NOT i.deleted AND i.host_id IS NOT NULL
  AND EXISTS (SELECT FROM allocations a
              WHERE a.consumer_id = i.uuid AND a.generation = i.generation AND a.resource_class = 'PCPU')
  AND NOT EXISTS (SELECT FROM exclusive_claims e
                  WHERE e.consumer_id = i.uuid AND e.generation = i.generation AND e.thing LIKE 'cpu/%')
