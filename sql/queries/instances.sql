-- get --
-- One server that lives. $1: its uuid. $2: the project that asks, or NULL for all.
SELECT i.uuid, i.number, i.project_id, i.user_id, i.reservation_id, i.launch_index, i.display_name, i.display_description,
       i.hostname, i.vm_state, i.power_state, i.progress, i.host_id, i.host, i.node, i.generation,
       i.availability_zone, i.pinned_zone, i.image_id, i.image_properties, i.kernel_id, i.ramdisk_id, i.flavor,
       i.flavor_id, i.vcpus, i.memory_mb, i.root_device_name, i.key_name, i.key_data, i.user_data, i.config_drive,
       i.auto_disk_config, i.access_ip_v4, i.access_ip_v6, i.locked_by, i.locked_reason, i.metadata,
       i.system_metadata, i.tags, i.scheduler_hints, i.network_requests, i.security_groups, i.block_devices, i.ports,
       i.trusted_certs, i.injected_files, i.password_data, i.fault, i.created_at, i.updated_at, i.launched_at,
       i.terminated_at, i.deleted,
       CASE WHEN q.id IS NULL THEN l.task_state ELSE q.task_state END AS task_state,
       h.disabled AS host_disabled, h.forced_down AS host_forced_down,
       ARRAY(SELECT m.group_id FROM server_group_members m WHERE m.instance_id = i.uuid) AS server_groups
FROM instances i
LEFT JOIN hosts h ON h.id = i.host_id
LEFT JOIN workflows q ON q.subject_id = i.uuid AND q.state = 'queued'
LEFT JOIN workflows l ON l.subject_id = i.uuid AND l.state IN ('running', 'waiting', 'undoing')
WHERE i.uuid = $1 AND NOT i.deleted AND ($2::text IS NULL OR i.project_id = $2)

-- by_ids --
-- Servers in no order, deleted ones too. $1: their uuids.
SELECT i.uuid, i.number, i.project_id, i.user_id, i.reservation_id, i.launch_index, i.display_name, i.display_description,
       i.hostname, i.vm_state, i.power_state, i.progress, i.host_id, i.host, i.node, i.generation,
       i.availability_zone, i.pinned_zone, i.image_id, i.image_properties, i.kernel_id, i.ramdisk_id, i.flavor,
       i.flavor_id, i.vcpus, i.memory_mb, i.root_device_name, i.key_name, i.key_data, i.user_data, i.config_drive,
       i.auto_disk_config, i.access_ip_v4, i.access_ip_v6, i.locked_by, i.locked_reason, i.metadata,
       i.system_metadata, i.tags, i.scheduler_hints, i.network_requests, i.security_groups, i.block_devices, i.ports,
       i.trusted_certs, i.injected_files, i.password_data, i.fault, i.created_at, i.updated_at, i.launched_at,
       i.terminated_at, i.deleted,
       CASE WHEN q.id IS NULL THEN l.task_state ELSE q.task_state END AS task_state,
       h.disabled AS host_disabled, h.forced_down AS host_forced_down
FROM instances i
LEFT JOIN hosts h ON h.id = i.host_id
LEFT JOIN workflows q ON q.subject_id = i.uuid AND q.state = 'queued'
LEFT JOIN workflows l ON l.subject_id = i.uuid AND l.state IN ('running', 'waiting', 'undoing')
WHERE i.uuid = ANY ($1::uuid[])

-- newest_first --
-- A page of servers, without their system_metadata, which no list shows and which is the greater part of a row.
-- $1: what the filters compare with, by their names; $2: how many at most. The fragments are filters.
SELECT i.uuid, i.number, i.project_id, i.user_id, i.reservation_id, i.launch_index, i.display_name, i.display_description,
       i.hostname, i.vm_state, i.power_state, i.progress, i.host_id, i.host, i.node, i.generation,
       i.availability_zone, i.pinned_zone, i.image_id, i.image_properties, i.kernel_id, i.ramdisk_id, i.flavor,
       i.flavor_id, i.vcpus, i.memory_mb, i.root_device_name, i.key_name, i.key_data, i.user_data, i.config_drive,
       i.auto_disk_config, i.access_ip_v4, i.access_ip_v6, i.locked_by, i.locked_reason, i.metadata,
       '{}'::jsonb AS system_metadata, i.tags, i.scheduler_hints, i.network_requests, i.security_groups, i.block_devices, i.ports,
       i.trusted_certs, i.injected_files, i.password_data, i.fault, i.created_at, i.updated_at, i.launched_at,
       i.terminated_at, i.deleted,
       CASE WHEN q.id IS NULL THEN l.task_state ELSE q.task_state END AS task_state,
       h.disabled AS host_disabled, h.forced_down AS host_forced_down
FROM instances i
LEFT JOIN hosts h ON h.id = i.host_id
LEFT JOIN workflows q ON q.subject_id = i.uuid AND q.state = 'queued'
LEFT JOIN workflows l ON l.subject_id = i.uuid AND l.state IN ('running', 'waiting', 'undoing')
WHERE $1::jsonb IS NOT NULL
/*fragments*/
ORDER BY i.created_at DESC, i.uuid
LIMIT $2

-- places --
-- What servers are sorted by. $1: what the filters compare with; $2: names of columns. The fragments are filters.
SELECT i.uuid, (SELECT jsonb_agg(v.columns -> wanted.name ORDER BY wanted.place)
                FROM unnest($2::text[]) WITH ORDINALITY AS wanted (name, place)) AS values
FROM instances i
LEFT JOIN workflows q ON q.subject_id = i.uuid AND q.state = 'queued'
LEFT JOIN workflows l ON l.subject_id = i.uuid AND l.state IN ('running', 'waiting', 'undoing')
CROSS JOIN LATERAL (SELECT jsonb_build_object(
    'access_ip_v4', i.access_ip_v4, 'access_ip_v6', i.access_ip_v6, 'auto_disk_config', i.auto_disk_config,
    'availability_zone', i.availability_zone, 'config_drive', i.config_drive, 'created_at', i.created_at,
    'display_description', i.display_description, 'display_name', i.display_name, 'host', i.host, 'hostname', i.hostname,
    'image_ref', i.image_id, 'instance_type_id', i.flavor_id, 'kernel_id', i.kernel_id, 'key_name', i.key_name,
    'launch_index', i.launch_index, 'launched_at', i.launched_at, 'locked_by', i.locked_by, 'locked', i.locked_by IS NOT NULL,
    'node', i.node, 'power_state', i.power_state, 'progress', i.progress, 'project_id', i.project_id) || jsonb_build_object(
    'ramdisk_id', i.ramdisk_id, 'root_device_name', i.root_device_name,
    'task_state', CASE WHEN q.id IS NULL THEN l.task_state ELSE q.task_state END, 'terminated_at', i.terminated_at,
    'updated_at', i.updated_at, 'user_id', i.user_id, 'uuid', i.uuid, 'vm_state', i.vm_state) AS columns) AS v
WHERE $1::jsonb IS NOT NULL
/*fragments*/

-- marker --
-- When the server that a page ended with was made. $1: its uuid. $2: the project that asks, or NULL for all.
SELECT i.created_at FROM instances i WHERE i.uuid = $1 AND ($2::text IS NULL OR i.project_id = $2)

-- after_marker --
AND i.created_at <= ($1::jsonb ->> 'marker_created_at')::timestamptz
AND (i.created_at < ($1::jsonb ->> 'marker_created_at')::timestamptz OR i.uuid > ($1::jsonb ->> 'marker')::uuid)

-- live --
AND NOT i.deleted

-- deleted --
AND i.deleted

-- changes_since --
AND i.updated_at >= ($1::jsonb ->> 'changes_since')::timestamptz

-- changes_before --
AND i.updated_at <= ($1::jsonb ->> 'changes_before')::timestamptz

-- uuids --
AND i.uuid = ANY (ARRAY(SELECT jsonb_array_elements_text($1::jsonb -> 'uuids'))::uuid[])

-- vm_states --
AND i.vm_state = ANY (ARRAY(SELECT jsonb_array_elements_text($1::jsonb -> 'vm_states')))

-- task_states --
AND CASE WHEN q.id IS NULL THEN l.task_state ELSE q.task_state END
    = ANY (ARRAY(SELECT jsonb_array_elements_text($1::jsonb -> 'task_states')))

-- locked --
AND (i.locked_by IS NOT NULL) = ($1::jsonb ->> 'locked')::boolean

-- tags --
AND i.tags @> ARRAY(SELECT jsonb_array_elements_text($1::jsonb -> 'tags'))

-- tags_any --
AND i.tags && ARRAY(SELECT jsonb_array_elements_text($1::jsonb -> 'tags_any'))

-- not_tags --
AND NOT i.tags @> ARRAY(SELECT jsonb_array_elements_text($1::jsonb -> 'not_tags'))

-- not_tags_any --
AND NOT i.tags && ARRAY(SELECT jsonb_array_elements_text($1::jsonb -> 'not_tags_any'))

-- ip --
AND EXISTS (SELECT FROM jsonb_array_elements(i.ports) AS p, jsonb_array_elements(p -> 'fixed_ips') AS a
            WHERE a ->> 'version' = '4' AND a ->> 'address' ~ ($1::jsonb ->> 'ip'))

-- ip6 --
AND EXISTS (SELECT FROM jsonb_array_elements(i.ports) AS p, jsonb_array_elements(p -> 'fixed_ips') AS a
            WHERE a ->> 'version' = '6' AND a ->> 'address' ~ ($1::jsonb ->> 'ip6'))

-- project_id --
AND i.project_id = ($1::jsonb ->> 'project_id')

-- user_id --
AND i.user_id = ($1::jsonb ->> 'user_id')

-- image --
AND i.image_id = ($1::jsonb ->> 'image')

-- host --
AND i.host = ($1::jsonb ->> 'host')

-- flavor --
AND i.flavor ->> 'flavorid' = ($1::jsonb ->> 'flavor')

-- hostname --
AND i.hostname ~ ($1::jsonb ->> 'hostname')

-- display_name --
AND i.display_name ~ ($1::jsonb ->> 'display_name')

-- display_description --
AND i.display_description ~ ($1::jsonb ->> 'display_description')

-- kernel_id --
AND i.kernel_id ~ ($1::jsonb ->> 'kernel_id')

-- ramdisk_id --
AND i.ramdisk_id ~ ($1::jsonb ->> 'ramdisk_id')

-- key_name --
AND i.key_name ~ ($1::jsonb ->> 'key_name')

-- power_state --
AND i.power_state::text ~ ($1::jsonb ->> 'power_state')

-- node --
AND i.node ~ ($1::jsonb ->> 'node')

-- reservation_id --
AND i.reservation_id ~ ($1::jsonb ->> 'reservation_id')

-- availability_zone --
AND i.availability_zone ~ ($1::jsonb ->> 'availability_zone')

-- locked_by --
AND i.locked_by ~ ($1::jsonb ->> 'locked_by')

-- root_device_name --
AND i.root_device_name ~ ($1::jsonb ->> 'root_device_name')

-- config_drive --
AND CASE WHEN i.config_drive THEN 'True' ELSE '' END ~ ($1::jsonb ->> 'config_drive')

-- access_ip_v4 --
AND i.access_ip_v4 ~ ($1::jsonb ->> 'access_ip_v4')

-- access_ip_v6 --
AND i.access_ip_v6 ~ ($1::jsonb ->> 'access_ip_v6')

-- auto_disk_config --
AND CASE WHEN i.auto_disk_config THEN '1' ELSE '0' END ~ ($1::jsonb ->> 'auto_disk_config')

-- progress --
AND i.progress::text ~ ($1::jsonb ->> 'progress')

-- launched_at --
AND i.launched_at::text ~ ($1::jsonb ->> 'launched_at')

-- terminated_at --
AND i.terminated_at::text ~ ($1::jsonb ->> 'terminated_at')

-- created_at --
AND i.created_at::text ~ ($1::jsonb ->> 'created_at')

-- launch_index --
AND i.launch_index::text ~ ($1::jsonb ->> 'launch_index')

-- prepare --
-- All that a new server's checks need, in one look, with the project's lock for counting, which the transaction holds to its end:
-- where nothing is limited, nobody waits for it.
-- $1: the flavor's id. $2: the project. $3: whether it may use private flavors of others. $4, $5: the user and the name of a key
-- pair, or NULL. $6: an availability zone or NULL. $7: names of hosts. $8: the configured limits of instances, cores and ram.
-- $9: whether to take the lock in any case. Limits are those of the class "default" under those of the project; the user's are those
-- that were set for the user alone.
SELECT CASE WHEN $9::boolean
                 OR EXISTS (SELECT FROM unnest('{instances,cores,ram}'::text[], $8::bigint[]) AS l (resource, configured)
                            WHERE coalesce((SELECT q.hard_limit FROM quotas q
                                            WHERE q.project_id IN ('', $2) AND q.user_id = '' AND q.resource = l.resource
                                            ORDER BY q.project_id DESC LIMIT 1), l.configured) >= 0)
                 OR EXISTS (SELECT FROM quotas q
                            WHERE q.project_id = $2 AND q.user_id = $4 AND $2 <> '' AND $4 <> ''
                              AND q.resource IN ('instances', 'cores', 'ram') AND q.hard_limit >= 0)
            THEN pg_advisory_xact_lock(hashtextextended($2::text, 0)) IS NOT NULL ELSE false END AS locked,
       to_jsonb(f) AS flavor,
       (SELECT jsonb_build_object('name', k.name, 'type', k.type, 'public_key', k.public_key, 'fingerprint', k.fingerprint)
        FROM keypairs k WHERE k.user_id = $4 AND k.name = $5) AS key,
       $6::text IS NULL OR EXISTS (SELECT FROM hosts h WHERE h.availability_zone = $6) AS zone_known,
       (SELECT array_agg(w.name) FROM unnest($7::text[]) AS w (name)
        WHERE NOT EXISTS (SELECT FROM hosts h WHERE h.name = w.name OR h.facts ->> 'hypervisor_hostname' = w.name)) AS unknown_hosts,
       (SELECT coalesce(jsonb_object_agg(q.resource, q.hard_limit ORDER BY q.project_id), '{}')
        FROM quotas q WHERE q.project_id IN ('', $2) AND q.user_id = '') AS limits,
       (SELECT coalesce(jsonb_object_agg(q.resource, q.hard_limit), '{}')
        FROM quotas q WHERE q.project_id = $2 AND q.user_id = $4 AND $2 <> '' AND $4 <> '') AS user_limits
FROM flavors f
WHERE f.flavorid = $1 AND NOT f.disabled
  AND ($3::boolean OR f.is_public OR EXISTS (SELECT FROM flavor_access a WHERE a.flavor_id = f.id AND a.project_id = $2))

-- insert --
-- Servers that differ in uuid, names and launch index only: as many as the limits leave room for, between $6 and all of them, else none.
-- $1: the columns that they share. $2, $3, $4: uuids, display names, hostnames. $5: the project's limits of instances, cores and ram;
-- $7: those of the user.
-- Run inside the transaction that holds the project's lock (see prepare), in a later statement, so that it sees what was counted before.
WITH shared AS (
    SELECT * FROM jsonb_to_record($1::jsonb) AS s (
        project_id text, user_id text, reservation_id text, display_description text, availability_zone text, pinned_zone text,
        image_id text, image_properties jsonb, kernel_id text, ramdisk_id text, flavor jsonb, flavor_id bigint, vcpus integer,
        memory_mb integer, root_device_name text, key_name text, key_data jsonb, user_data text, config_drive boolean,
        auto_disk_config boolean, access_ip_v4 text, access_ip_v6 text, metadata jsonb, system_metadata jsonb, tags jsonb,
        scheduler_hints jsonb, network_requests jsonb, security_groups jsonb, block_devices jsonb, trusted_certs jsonb,
        injected_files jsonb)
), used AS MATERIALIZED (
    SELECT count(*) AS instances, coalesce(sum(i.vcpus), 0)::bigint AS cores, coalesce(sum(i.memory_mb), 0)::bigint AS ram
    FROM instances i
    WHERE i.project_id = (SELECT project_id FROM shared) AND NOT i.deleted AND i.vm_state <> 'soft-delete'
      AND ($5::bigint[])[1:3] <> '{-1,-1,-1}'
), own AS MATERIALIZED (
    SELECT count(*) AS instances, coalesce(sum(i.vcpus), 0)::bigint AS cores, coalesce(sum(i.memory_mb), 0)::bigint AS ram
    FROM instances i
    WHERE i.project_id = (SELECT project_id FROM shared) AND i.user_id = (SELECT user_id FROM shared) AND NOT i.deleted
      AND i.vm_state <> 'soft-delete' AND ($7::bigint[])[1:3] <> '{-1,-1,-1}'
), room AS (
    SELECT least(cardinality($2::uuid[]),
                 CASE WHEN ($5::bigint[])[1] >= 0 THEN ($5::bigint[])[1] - u.instances END,
                 CASE WHEN ($5::bigint[])[2] >= 0 AND s.vcpus > 0 THEN (($5::bigint[])[2] - u.cores) / s.vcpus END,
                 CASE WHEN ($5::bigint[])[3] >= 0 AND s.memory_mb > 0 THEN (($5::bigint[])[3] - u.ram) / s.memory_mb END,
                 CASE WHEN ($7::bigint[])[1] >= 0 THEN ($7::bigint[])[1] - o.instances END,
                 CASE WHEN ($7::bigint[])[2] >= 0 AND s.vcpus > 0 THEN (($7::bigint[])[2] - o.cores) / s.vcpus END,
                 CASE WHEN ($7::bigint[])[3] >= 0 AND s.memory_mb > 0 THEN (($7::bigint[])[3] - o.ram) / s.memory_mb END) AS servers
    FROM used u, own o, shared s
), inserted AS (
    INSERT INTO instances (
        uuid, display_name, hostname, launch_index, created_at, updated_at,
        project_id, user_id, reservation_id, display_description, availability_zone, pinned_zone, image_id, image_properties,
        kernel_id, ramdisk_id, flavor, flavor_id, vcpus, memory_mb, root_device_name, key_name, key_data, user_data, config_drive,
        auto_disk_config, access_ip_v4, access_ip_v6, metadata, system_metadata, tags, scheduler_hints, network_requests,
        security_groups, block_devices, trusted_certs, injected_files)
    SELECT n.uuid, n.display_name, n.hostname, n.place - 1, clock_timestamp(), clock_timestamp(),
           s.project_id, s.user_id, s.reservation_id, s.display_description, s.availability_zone, s.pinned_zone, s.image_id,
           s.image_properties, s.kernel_id, s.ramdisk_id, s.flavor, s.flavor_id, s.vcpus, s.memory_mb, s.root_device_name, s.key_name,
           s.key_data, s.user_data, s.config_drive, s.auto_disk_config, s.access_ip_v4, s.access_ip_v6, s.metadata, s.system_metadata,
           ARRAY(SELECT jsonb_array_elements_text(s.tags)), s.scheduler_hints, s.network_requests, s.security_groups, s.block_devices,
           nullif(s.trusted_certs, 'null'), s.injected_files
    FROM shared s, room r,
         unnest($2::uuid[], $3::text[], $4::text[]) WITH ORDINALITY AS n (uuid, display_name, hostname, place)
    WHERE n.place <= r.servers AND r.servers >= $6::bigint
    RETURNING uuid
)
SELECT u.instances, u.cores, u.ram, o.instances AS own_instances, o.cores AS own_cores, o.ram AS own_ram,
       ARRAY(SELECT uuid FROM inserted) AS made
FROM used u, own o

-- hold --
-- The state that decides whether an action is legal, and a lock on the row until the transaction ends. $1: the server.
SELECT i.vm_state, i.locked_by, i.launched_at FROM instances i WHERE i.uuid = $1 AND NOT i.deleted FOR NO KEY UPDATE

-- change --
-- Set the columns that are keys of $2; the others stay. $1: the server.
UPDATE instances SET
    display_name = CASE WHEN $2::jsonb ? 'display_name' THEN $2 ->> 'display_name' ELSE display_name END,
    display_description = CASE WHEN $2 ? 'display_description' THEN $2 ->> 'display_description' ELSE display_description END,
    hostname = CASE WHEN $2 ? 'hostname' THEN $2 ->> 'hostname' ELSE hostname END,
    access_ip_v4 = CASE WHEN $2 ? 'access_ip_v4' THEN $2 ->> 'access_ip_v4' ELSE access_ip_v4 END,
    access_ip_v6 = CASE WHEN $2 ? 'access_ip_v6' THEN $2 ->> 'access_ip_v6' ELSE access_ip_v6 END,
    auto_disk_config = CASE WHEN $2 ? 'auto_disk_config' THEN ($2 ->> 'auto_disk_config')::boolean ELSE auto_disk_config END,
    pinned_zone = CASE WHEN $2 ? 'pinned_zone' THEN $2 ->> 'pinned_zone' ELSE pinned_zone END,
    vm_state = CASE WHEN $2 ? 'vm_state' THEN $2 ->> 'vm_state' ELSE vm_state END,
    locked_by = CASE WHEN $2 ? 'locked_by' THEN $2 ->> 'locked_by' ELSE locked_by END,
    locked_reason = CASE WHEN $2 ? 'locked_reason' THEN $2 ->> 'locked_reason' ELSE locked_reason END,
    password_data = CASE WHEN $2 ? 'password_data' THEN $2 ->> 'password_data' ELSE password_data END,
    image_id = CASE WHEN $2 ? 'image_id' THEN $2 ->> 'image_id' ELSE image_id END,
    image_properties = CASE WHEN $2 ? 'image_properties' THEN $2 -> 'image_properties' ELSE image_properties END,
    kernel_id = CASE WHEN $2 ? 'kernel_id' THEN $2 ->> 'kernel_id' ELSE kernel_id END,
    ramdisk_id = CASE WHEN $2 ? 'ramdisk_id' THEN $2 ->> 'ramdisk_id' ELSE ramdisk_id END,
    key_name = CASE WHEN $2 ? 'key_name' THEN $2 ->> 'key_name' ELSE key_name END,
    key_data = CASE WHEN $2 ? 'key_data' THEN nullif($2 -> 'key_data', 'null') ELSE key_data END,
    user_data = CASE WHEN $2 ? 'user_data' THEN $2 ->> 'user_data' ELSE user_data END,
    trusted_certs = CASE WHEN $2 ? 'trusted_certs' THEN nullif($2 -> 'trusted_certs', 'null') ELSE trusted_certs END,
    metadata = CASE WHEN $2 ? 'metadata' THEN $2 -> 'metadata' ELSE metadata END,
    injected_files = CASE WHEN $2 ? 'injected_files' THEN $2 -> 'injected_files' ELSE injected_files END,
    security_groups = CASE WHEN $2 ? 'security_groups' THEN $2 -> 'security_groups' ELSE security_groups END,
    ports = CASE WHEN $2 ? 'ports' THEN $2 -> 'ports' ELSE ports END,
    system_metadata = system_metadata || coalesce($2 -> 'system_metadata', '{}'),
    updated_at = now()
WHERE uuid = $1 AND NOT deleted

-- serialize --
-- Let nobody else count or add to what a project has until the transaction ends (as ``prepare`` does). $1: the project.
SELECT pg_advisory_xact_lock(hashtextextended($1::text, 0)) IS NULL
