-- usual_flavors --
-- The flavors that a new cloud has; made only when there is none at all. $1 ids, $2 names, $3 memory in MiB, $4 vcpus, $5 disk in GiB
INSERT INTO flavors (flavorid, name, memory_mb, vcpus, root_gb)
SELECT * FROM unnest($1::text[], $2::text[], $3::integer[], $4::integer[], $5::integer[])
WHERE NOT EXISTS (SELECT FROM flavors)
ON CONFLICT DO NOTHING
