-- insert_image --
-- A queued image. $1 id, $2 name, $3 visibility, $4 owner, $5 disk_format, $6 container_format, $7 min_disk, $8 min_ram,
-- $9 protected, $10 os_hidden, $11 tags, $12 properties, $13 now
INSERT INTO images (id, name, visibility, owner, disk_format, container_format, min_disk, min_ram, protected, os_hidden, tags,
                    properties, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $13);

-- lock_owner --
-- Serialise the creations of one project until the transaction ends, so that counting is exact. $1 owner
SELECT true FROM (SELECT pg_advisory_xact_lock(hashtext('images'), hashtext($1::text))) AS locked;

-- count_images --
-- $1 owner
SELECT count(*) FROM images WHERE owner = $1;

-- image_by_id --
-- $1 id, $2 the project that asks (for its membership)
SELECT i.id, i.name, i.status, i.visibility, i.owner, i.disk_format, i.container_format, i.size, i.virtual_size, i.checksum,
       i.os_hash_algo, i.os_hash_value, i.min_disk, i.min_ram, i.protected, i.os_hidden, i.tags, i.properties,
       i.upload_id, i.data_id, i.created_at, i.updated_at, m.status AS member_status
FROM images i LEFT JOIN image_members m ON m.image_id = i.id AND m.member = $2
WHERE i.id = $1;

-- lock_image --
-- As image_by_id, holding the image's row until the transaction ends. $1 id, $2 the project that asks
SELECT i.id, i.name, i.status, i.visibility, i.owner, i.disk_format, i.container_format, i.size, i.virtual_size, i.checksum,
       i.os_hash_algo, i.os_hash_value, i.min_disk, i.min_ram, i.protected, i.os_hidden, i.tags, i.properties,
       i.upload_id, i.data_id, i.created_at, i.updated_at, m.status AS member_status
FROM images i LEFT JOIN image_members m ON m.image_id = i.id AND m.member = $2
WHERE i.id = $1
FOR UPDATE OF i;

-- public_image_named --
-- The oldest usable public image of a name. $1 name
SELECT id FROM images WHERE name = $1 AND visibility = 'public' AND status = 'active' ORDER BY created_at, id LIMIT 1;

-- list_images --
-- A page of what a project may list. $1 project, $2 whether it is an administrator, $3 member_status (or 'all'), $4 marker,
-- $5 how many; then the filters, null where not asked for: $6 visibility (or 'all'), $7 ids, $8 names, $9 statuses,
-- $10 disk formats, $11 container formats, $12 owner, $13 protected, $14 os_hidden, $15 tags (all of them), $16 properties,
-- $17 size_min, $18 size_max, $19 min_disk, $20 min_ram, $21 checksum, $22 os_hash_value, $23 created from, $24 created until,
-- $25 updated from, $26 updated until. The fragments are the sort keys. The marker takes part even where the filters
-- would now leave it out, so that paging goes on from where it stood.
WITH visible AS (
    SELECT i.*, m.status AS member_status
    FROM images i LEFT JOIN image_members m ON m.image_id = i.id AND m.member = $1
    WHERE ($2::boolean OR (i.owner = $1 AND $1 <> '') OR i.visibility IN ('public', 'community')
           OR (i.visibility = 'shared' AND m.status IS NOT NULL AND ($3::text = 'all' OR m.status = $3)))
      AND (i.id = $4::uuid OR (
          CASE WHEN $6::text IS NULL THEN i.visibility <> 'community' OR i.owner = $1 ELSE $6 IN ('all', i.visibility) END
          AND ($7::text[] IS NULL OR i.id::text = ANY ($7))
          AND ($8::text[] IS NULL OR i.name = ANY ($8))
          AND ($9::text[] IS NULL OR i.status = ANY ($9))
          AND ($10::text[] IS NULL OR i.disk_format = ANY ($10))
          AND ($11::text[] IS NULL OR i.container_format = ANY ($11))
          AND ($12::text IS NULL OR i.owner = $12)
          AND ($13::boolean IS NULL OR i.protected = $13)
          AND ($14::boolean IS NULL OR i.os_hidden = $14)
          AND ($15::text[] IS NULL OR i.tags @> $15)
          AND ($16::jsonb IS NULL OR i.properties @> $16)
          AND ($17::bigint IS NULL OR i.size >= $17)
          AND ($18::bigint IS NULL OR i.size <= $18)
          AND ($19::integer IS NULL OR i.min_disk = $19)
          AND ($20::integer IS NULL OR i.min_ram = $20)
          AND ($21::text IS NULL OR i.checksum = $21)
          AND ($22::text IS NULL OR i.os_hash_value = $22)
          AND ($23::timestamptz IS NULL OR i.created_at >= $23)
          AND ($24::timestamptz IS NULL OR i.created_at < $24)
          AND ($25::timestamptz IS NULL OR i.updated_at >= $25)
          AND ($26::timestamptz IS NULL OR i.updated_at < $26)))
), sorted AS (
    SELECT *, row_number() OVER (ORDER BY /*fragments*/ id DESC) AS place FROM visible
)
SELECT id, name, status, visibility, owner, disk_format, container_format, size, virtual_size, checksum, os_hash_algo,
       os_hash_value, min_disk, min_ram, protected, os_hidden, tags, properties, upload_id, data_id, created_at, updated_at,
       member_status
FROM sorted
WHERE place > coalesce((SELECT place FROM sorted WHERE id = $4), 0)
ORDER BY place
LIMIT $5;

-- name_asc --
name ASC,

-- name_desc --
name DESC,

-- status_asc --
status ASC,

-- status_desc --
status DESC,

-- container_format_asc --
container_format ASC,

-- container_format_desc --
container_format DESC,

-- disk_format_asc --
disk_format ASC,

-- disk_format_desc --
disk_format DESC,

-- size_asc --
size ASC,

-- size_desc --
size DESC,

-- id_asc --
id ASC,

-- id_desc --
id DESC,

-- created_at_asc --
created_at ASC,

-- created_at_desc --
created_at DESC,

-- updated_at_asc --
updated_at ASC,

-- updated_at_desc --
updated_at DESC,

-- update_image --
-- What users may change. $1 id, $2 name, $3 visibility, $4 owner, $5 disk_format, $6 container_format, $7 min_disk, $8 min_ram,
-- $9 protected, $10 os_hidden, $11 tags, $12 properties, $13 now
UPDATE images
SET name = $2, visibility = $3, owner = $4, disk_format = $5, container_format = $6, min_disk = $7, min_ram = $8,
    protected = $9, os_hidden = $10, tags = $11, properties = $12, updated_at = $13
WHERE id = $1;

-- set_status --
-- $1 id, $2 the status it must have, $3 the new one, $4 now
UPDATE images SET status = $3, updated_at = $4 WHERE id = $1 AND status = $2;

-- claim_upload --
-- One upload wins a queued image. $1 id, $2 upload_id, $3 'saving' or 'uploading', $4 now
UPDATE images SET status = $3, upload_id = $2, updated_at = $4 WHERE id = $1 AND status = 'queued';

-- finish_upload --
-- The bytes are complete and safe. $1 id, $2 upload_id (the file's name from now on), $3 'active' or 'uploading' (staged), $4 size,
-- $5 virtual_size, $6 md5, $7 sha512, $8 now
UPDATE images
SET status = $3, upload_id = NULL, data_id = $2, size = $4, virtual_size = $5, checksum = $6, os_hash_algo = 'sha512',
    os_hash_value = $7, updated_at = $8
WHERE id = $1 AND upload_id = $2;

-- release_upload --
-- An upload failed: the image waits for another. $1 upload_id, $2 now
UPDATE images SET status = 'queued', upload_id = NULL, updated_at = $2 WHERE upload_id = $1;

-- activate_staged --
-- $1 id, $2 now
UPDATE images SET status = 'active', updated_at = $2
WHERE id = $1 AND status = 'uploading' AND data_id IS NOT NULL AND upload_id IS NULL;

-- drop_staged --
-- Staged data are refused: the image waits for others. $1 id, $2 data_id, $3 now
UPDATE images
SET status = 'queued', data_id = NULL, size = NULL, virtual_size = NULL, checksum = NULL, os_hash_algo = NULL, os_hash_value = NULL,
    updated_at = $3
WHERE id = $1 AND data_id = $2 AND status = 'uploading';

-- uploads_under_way --
SELECT upload_id FROM images WHERE upload_id IS NOT NULL;

-- data_ids --
-- Every file that belongs to an image.
SELECT data_id FROM images WHERE data_id IS NOT NULL;

-- delete_image --
-- $1 id
DELETE FROM images WHERE id = $1;

-- insert_member --
-- $1 image_id, $2 member, $3 now
INSERT INTO image_members (image_id, member, created_at, updated_at) VALUES ($1, $2, $3, $3);

-- members --
-- $1 image_id
SELECT image_id, member, status, created_at, updated_at FROM image_members WHERE image_id = $1 ORDER BY created_at, member;

-- set_member_status --
-- $1 image_id, $2 member, $3 status, $4 now
UPDATE image_members SET status = $3, updated_at = $4 WHERE image_id = $1 AND member = $2;

-- delete_member --
-- $1 image_id, $2 member
DELETE FROM image_members WHERE image_id = $1 AND member = $2;
