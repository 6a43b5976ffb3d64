-- insert --
-- Keep a token; those that have been over for a day go, and so do the oldest of a server that has many.
-- $1 hash, $2 server, $3 console type, $4 user, $5 host, $6 placement, $7 address, $8 port, $9 TLS port, $10 seconds, $11 most for a server
WITH over AS (
    DELETE FROM console_tokens WHERE expires_at < now() - interval '1 day'
), surplus AS (
    DELETE FROM console_tokens WHERE hash IN (
        SELECT t.hash FROM console_tokens t WHERE t.instance_id = $2 ORDER BY t.expires_at DESC OFFSET $11::integer - 1)
)
INSERT INTO console_tokens (hash, instance_id, console_type, user_id, host, generation, address, port, tls_port, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, now() + make_interval(secs => $10))

-- find --
-- A token, and why it does not hold any more: it does while it is not over and its server runs where it did. $1 hash
SELECT t.instance_id, t.console_type, t.user_id, t.host, t.generation, t.address, t.port, t.tls_port,
    CASE WHEN i.deleted THEN 'deleted'
         WHEN i.host IS DISTINCT FROM t.host OR i.generation <> t.generation THEN 'moved'
         WHEN i.power_state NOT IN (1, 3) THEN 'stopped'
         WHEN t.expires_at <= now() THEN 'over'
         ELSE '' END AS ended
FROM console_tokens t JOIN instances i ON i.uuid = t.instance_id
WHERE t.hash = $1

-- holding --
-- Which of these still run where they did. $1 servers, $2 hosts, $3 placements, side by side
SELECT DISTINCT i.uuid AS instance_id, i.generation
FROM unnest($1::uuid[], $2::text[], $3::bigint[]) AS asked (instance_id, host, generation)
JOIN instances i ON i.uuid = asked.instance_id AND i.host = asked.host AND i.generation = asked.generation
WHERE NOT i.deleted AND i.power_state IN (1, 3)
