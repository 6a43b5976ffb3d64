-- due --
-- Hosts whose servers were not counted for a period yet, and how many ran there. $1, $2: the period
SELECT h.name AS host, (SELECT count(*) FROM instances i WHERE i.host = h.name AND i.launched_at < $2
                        AND (i.terminated_at IS NULL OR i.terminated_at > $1)) AS instances
FROM hosts h
WHERE NOT EXISTS (SELECT FROM usage_audits a WHERE a.period_begin = $1 AND a.period_end = $2 AND a.host = h.name)
ORDER BY h.name

-- put --
-- Note what was counted; what is noted already stays. $1, $2: the period, $3: hosts, $4: their servers, $5: messages
INSERT INTO usage_audits (period_begin, period_end, host, instances, message)
SELECT $1, $2, t.host, t.instances, t.message FROM unnest($3::text[], $4::bigint[], $5::text[]) AS t (host, instances, message)
ON CONFLICT DO NOTHING

-- of_period --
-- What was noted of a period. $1, $2: the period
SELECT host, instances, errors, message FROM usage_audits WHERE period_begin = $1 AND period_end = $2 ORDER BY host

-- forget --
-- Drop what is older than a number of days. $1: days
DELETE FROM usage_audits WHERE period_end < now() - make_interval(days => $1)
