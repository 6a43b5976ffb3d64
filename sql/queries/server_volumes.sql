-- set_devices --
-- A server's block devices are these. $1 server, $2 devices
UPDATE instances SET block_devices = $2, updated_at = now() WHERE uuid = $1 AND NOT deleted

-- lost_attachments --
-- Attachments of the built-in volume service that belong to no server any more, and that are old enough ($1, in seconds) not to be
-- part of an operation that is only beginning.
SELECT a.id, a.volume_id, i.uuid AS instance_id FROM volume_attachments a JOIN instances i ON i.uuid = a.instance_id
WHERE a.created_at < now() - make_interval(secs => $1::float8)
  AND (i.deleted OR NOT i.block_devices @> jsonb_build_array(jsonb_build_object('attachment_id', a.id::text)))
  AND NOT EXISTS (SELECT FROM workflows w WHERE w.subject_id = i.uuid AND w.state IN ('queued', 'running', 'waiting', 'undoing'))
LIMIT 100

-- violations --
-- Where servers' rows and the attachments of the built-in volume service say different things.
SELECT a.instance_id, 'the attachment ' || a.id || ' of volume ' || a.volume_id || ' is in no row of a live server' AS problem
FROM volume_attachments a LEFT JOIN instances i
  ON i.uuid = a.instance_id AND NOT i.deleted AND i.block_devices @> jsonb_build_array(jsonb_build_object('attachment_id', a.id::text))
WHERE a.instance_id IS NOT NULL AND i.uuid IS NULL
UNION ALL
SELECT i.uuid, 'the row has volume ' || (d ->> 'volume_id') || ', which the volume service has not attached to it'
FROM instances i, jsonb_array_elements(i.block_devices) AS d
WHERE NOT i.deleted AND d ->> 'kind' = 'volume' AND d ? 'attachment_id' AND d ->> 'attachment_id' IS NOT NULL
  AND EXISTS (SELECT FROM volumes v WHERE v.id::text = d ->> 'volume_id')
  AND NOT EXISTS (SELECT FROM volume_attachments a WHERE a.id::text = d ->> 'attachment_id' AND a.instance_id = i.uuid)

-- holders --
-- Servers that have a volume. $1 volume
SELECT i.uuid FROM instances i WHERE NOT i.deleted AND i.block_devices @> jsonb_build_array(jsonb_build_object('volume_id', $1::text))
