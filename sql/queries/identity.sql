-- project_insert --
-- $1 id, $2 domain, $3 parent, $4 name, $5 its key, $6 description, $7 enabled, $8 is_domain, $9 tags, $10 options, $11 extra
INSERT INTO identity_projects (id, domain_id, parent_id, name, name_key, description, enabled, is_domain, tags, options, extra)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)

-- project_update --
-- $1 id, $2 name, $3 its key, $4 description, $5 enabled, $6 tags, $7 options, $8 extra
UPDATE identity_projects SET name = $2, name_key = $3, description = $4, enabled = $5, tags = $6, options = $7, extra = $8 WHERE id = $1

-- project_delete --
DELETE FROM identity_projects WHERE id = $1

-- project_show --
SELECT id, domain_id, parent_id, name, description, enabled, is_domain, tags, options, extra FROM identity_projects WHERE id = $1

-- project_lock --
-- As project_show; nobody else changes it until the transaction ends.
SELECT id, domain_id, parent_id, name, description, enabled, is_domain, tags, options, extra FROM identity_projects WHERE id = $1 FOR UPDATE

-- project_list --
-- NULL leaves a filter out. $1 name's key, $2 domain, $3 enabled, $4 parent, $5 is_domain, $6 all tags, $7 any tag,
-- $8 not all tags, $9 not any tag, $10 after this id, $11 at most
SELECT id, domain_id, parent_id, name, description, enabled, is_domain, tags, options, extra FROM identity_projects
WHERE ($1::text IS NULL OR name_key = $1) AND ($2::text IS NULL OR domain_id = $2) AND ($3::boolean IS NULL OR enabled = $3)
  AND ($4::text IS NULL OR coalesce(parent_id, domain_id) = $4) AND is_domain = $5::boolean
  AND ($6::text[] IS NULL OR tags @> $6) AND ($7::text[] IS NULL OR tags && $7)
  AND ($8::text[] IS NULL OR NOT tags @> $8) AND ($9::text[] IS NULL OR NOT tags && $9)
  AND ($10::text IS NULL OR id > $10)
ORDER BY id LIMIT $11

-- project_ancestry --
-- The project $1 and those above it, nearest first.
WITH RECURSIVE up AS (
    SELECT p.*, 0 AS depth FROM identity_projects p WHERE id = $1
    UNION ALL
    SELECT p.*, up.depth + 1 FROM up JOIN identity_projects p ON p.id = up.parent_id
)
SELECT id, domain_id, parent_id, name, description, enabled, is_domain, tags, options, extra FROM up ORDER BY depth

-- project_below --
-- Projects directly or indirectly under $1.
WITH RECURSIVE down AS (
    SELECT p.* FROM identity_projects p WHERE p.parent_id = $1
    UNION ALL
    SELECT p.* FROM down JOIN identity_projects p ON p.parent_id = down.id
)
SELECT id, domain_id, parent_id, name, description, enabled, is_domain, tags, options, extra FROM down

-- projects_reached --
-- Enabled projects (or domains) in which the user $1 has a role; $2 is_domain.
SELECT p.id, p.domain_id, p.parent_id, p.name, p.description, p.enabled, p.is_domain, p.tags, p.options, p.extra
FROM identity_projects p
WHERE p.id IN (SELECT coalesce(r.project_id, r.domain_id) FROM identity_reach($1) r) AND p.is_domain = $2 AND p.enabled
  AND NOT EXISTS (SELECT 1 FROM identity_projects d WHERE d.id = p.domain_id AND NOT d.enabled)
ORDER BY p.id

-- user_insert --
-- $1 id, $2 domain, $3 name, $4 its key, $5 password's hash, $6 enabled, $7 default project, $8 options, $9 extra
INSERT INTO identity_users (id, domain_id, name, name_key, password_hash, enabled, default_project_id, options, extra)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)

-- user_update --
-- $1 id, $2 name, $3 its key, $4 password's hash, $5 enabled, $6 default project, $7 options, $8 extra
UPDATE identity_users SET name = $2, name_key = $3, password_hash = $4, enabled = $5, default_project_id = $6, options = $7, extra = $8
WHERE id = $1

-- user_delete --
DELETE FROM identity_users WHERE id = $1

-- user_show --
SELECT id, domain_id, name, password_hash, enabled, default_project_id, options, extra FROM identity_users WHERE id = $1

-- user_lock --
-- As user_show; nobody else changes it until the transaction ends.
SELECT id, domain_id, name, password_hash, enabled, default_project_id, options, extra FROM identity_users WHERE id = $1 FOR UPDATE

-- user_list --
-- NULL leaves a filter out. $1 name's key, $2 domain, $3 enabled, $4 after this id, $5 at most
SELECT id, domain_id, name, password_hash, enabled, default_project_id, options, extra FROM identity_users
WHERE ($1::text IS NULL OR name_key = $1) AND ($2::text IS NULL OR domain_id = $2) AND ($3::boolean IS NULL OR enabled = $3)
  AND ($4::text IS NULL OR id > $4)
ORDER BY id LIMIT $5

-- user_login --
-- The user with id $1, or with the name's key $2 in the domain with id $3 or name's key $4.
SELECT u.id, u.name, u.domain_id, d.name AS domain_name, u.enabled AND d.enabled AS enabled, u.password_hash, u.default_project_id
FROM identity_users u JOIN identity_projects d ON d.id = u.domain_id
WHERE u.id = $1 OR ($1::text IS NULL AND u.name_key = $2 AND (d.id = $3 OR ($3::text IS NULL AND d.name_key = $4)))

-- scope_login --
-- The project or domain ($5 is_domain) with id $1, or with the name's key $2 in the domain with id $3 or name's key $4.
SELECT p.id, p.name, p.is_domain, coalesce(p.domain_id, p.id) AS domain_id, coalesce(d.name, p.name) AS domain_name,
       p.enabled AND coalesce(d.enabled, true) AS enabled
FROM identity_projects p LEFT JOIN identity_projects d ON d.id = p.domain_id
WHERE p.is_domain = $5
  AND (p.id = $1 OR ($1::text IS NULL AND p.name_key = $2 AND (p.is_domain OR d.id = $3 OR ($3::text IS NULL AND d.name_key = $4))))

-- roles_in_scope --
-- The roles of user $1 on project $2, or on domain $3, or on the system when both are NULL; implied ones included.
WITH RECURSIVE held AS (
    SELECT r.role_id FROM identity_reach($1) r WHERE r.project_id IS NOT DISTINCT FROM $2 AND r.domain_id IS NOT DISTINCT FROM $3
    UNION
    SELECT i.implied_id FROM held h JOIN identity_implied_roles i ON i.prior_id = h.role_id
)
SELECT r.id, r.name FROM identity_roles r JOIN held h ON h.role_id = r.id WHERE r.domain_id IS NULL ORDER BY r.name

-- roles_implied --
-- The roles $1 (ids) with all that they imply.
WITH RECURSIVE held AS (
    SELECT unnest($1::text[]) AS role_id
    UNION
    SELECT i.implied_id FROM held h JOIN identity_implied_roles i ON i.prior_id = h.role_id
)
SELECT r.id, r.name FROM identity_roles r JOIN held h ON h.role_id = r.id WHERE r.domain_id IS NULL ORDER BY r.name

-- roles_named --
-- The roles of no domain with the names $1.
SELECT r.id, r.name FROM identity_roles r WHERE r.name = ANY ($1::text[]) AND r.domain_id IS NULL ORDER BY r.name

-- group_insert --
INSERT INTO identity_groups (id, domain_id, name, name_key, description, extra) VALUES ($1, $2, $3, $4, $5, $6)

-- group_update --
UPDATE identity_groups SET name = $2, name_key = $3, description = $4, extra = $5 WHERE id = $1

-- group_delete --
DELETE FROM identity_groups WHERE id = $1

-- group_show --
SELECT id, domain_id, name, description, extra FROM identity_groups WHERE id = $1

-- group_list --
-- NULL leaves a filter out. $1 name's key, $2 domain, $3 a member, $4 after this id, $5 at most
SELECT id, domain_id, name, description, extra FROM identity_groups
WHERE ($1::text IS NULL OR name_key = $1) AND ($2::text IS NULL OR domain_id = $2)
  AND ($3::text IS NULL OR id IN (SELECT group_id FROM identity_memberships WHERE user_id = $3)) AND ($4::text IS NULL OR id > $4)
ORDER BY id LIMIT $5

-- member_insert --
INSERT INTO identity_memberships (group_id, user_id) VALUES ($1, $2) ON CONFLICT DO NOTHING

-- member_delete --
DELETE FROM identity_memberships WHERE group_id = $1 AND user_id = $2

-- member_show --
SELECT user_id FROM identity_memberships WHERE group_id = $1 AND user_id = $2

-- member_list --
SELECT id, domain_id, name, password_hash, enabled, default_project_id, options, extra FROM identity_users
WHERE id IN (SELECT user_id FROM identity_memberships WHERE group_id = $1) ORDER BY id

-- role_insert --
INSERT INTO identity_roles (id, domain_id, name, name_key, description, options, extra) VALUES ($1, $2, $3, $4, $5, $6, $7)

-- role_update --
UPDATE identity_roles SET name = $2, name_key = $3, description = $4, options = $5, extra = $6 WHERE id = $1

-- role_delete --
DELETE FROM identity_roles WHERE id = $1

-- role_show --
SELECT id, domain_id, name, description, options, extra FROM identity_roles WHERE id = $1

-- role_list --
-- $1 name's key or NULL, $2 domain (NULL: roles of no domain), $3 after this id or NULL, $4 at most
SELECT id, domain_id, name, description, options, extra FROM identity_roles
WHERE ($1::text IS NULL OR name_key = $1) AND domain_id IS NOT DISTINCT FROM $2 AND ($3::text IS NULL OR id > $3)
ORDER BY id LIMIT $4

-- role_holders --
-- Users who have the role $1, or one that implies it.
WITH RECURSIVE above AS (
    SELECT $1::text AS role_id
    UNION
    SELECT i.prior_id FROM above a JOIN identity_implied_roles i ON i.implied_id = a.role_id
), direct AS (
    SELECT s.user_id, s.group_id FROM identity_assignments s JOIN above USING (role_id)
)
SELECT user_id FROM direct WHERE user_id IS NOT NULL
UNION
SELECT m.user_id FROM direct d JOIN identity_memberships m ON m.group_id = d.group_id

-- implied_insert --
INSERT INTO identity_implied_roles (prior_id, implied_id) VALUES ($1, $2) ON CONFLICT DO NOTHING

-- implied_delete --
DELETE FROM identity_implied_roles WHERE prior_id = $1 AND implied_id = $2

-- implied_list --
-- All rules, or those of the prior role $1.
SELECT i.prior_id, p.name AS prior_name, i.implied_id, r.name AS implied_name
FROM identity_implied_roles i JOIN identity_roles p ON p.id = i.prior_id JOIN identity_roles r ON r.id = i.implied_id
WHERE $1::text IS NULL OR i.prior_id = $1
ORDER BY 1, 3

-- implied_reaches --
-- Whether the role $1 implies the role $2, however far.
WITH RECURSIVE held AS (
    SELECT $1::text AS role_id
    UNION
    SELECT i.implied_id FROM held h JOIN identity_implied_roles i ON i.prior_id = h.role_id
)
SELECT EXISTS (SELECT 1 FROM held WHERE role_id = $2) AS found

-- grant_insert --
-- $1 user, $2 group, $3 project, $4 domain, $5 role, $6 inherited
INSERT INTO identity_assignments (user_id, group_id, project_id, domain_id, role_id, inherited) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT DO NOTHING

-- grant_delete --
DELETE FROM identity_assignments WHERE user_id IS NOT DISTINCT FROM $1 AND group_id IS NOT DISTINCT FROM $2
  AND project_id IS NOT DISTINCT FROM $3 AND domain_id IS NOT DISTINCT FROM $4 AND role_id = $5 AND inherited = $6

-- grant_roles --
-- The roles directly given to user $1 or group $2 on project $3, domain $4 or the system; $5 inherited.
SELECT r.id, r.domain_id, r.name, r.description, r.options, r.extra FROM identity_roles r
WHERE r.id IN (
    SELECT role_id FROM identity_assignments WHERE user_id IS NOT DISTINCT FROM $1 AND group_id IS NOT DISTINCT FROM $2
      AND project_id IS NOT DISTINCT FROM $3 AND domain_id IS NOT DISTINCT FROM $4 AND inherited = $5)
ORDER BY r.id

-- assignment_list --
-- As they were granted. NULL leaves a filter out: $1 user, $2 group, $3 project, $4 domain, $5 on the system, $6 role,
-- $7 inherited, $8 at most
SELECT a.user_id, a.group_id, a.project_id, a.domain_id, a.role_id, a.inherited FROM identity_assignments a
WHERE ($1::text IS NULL OR a.user_id = $1) AND ($2::text IS NULL OR a.group_id = $2) AND ($3::text[] IS NULL OR a.project_id = ANY ($3))
  AND ($4::text IS NULL OR a.domain_id = $4) AND ($5::boolean IS NULL OR (a.project_id IS NULL AND a.domain_id IS NULL) = $5)
  AND ($6::text IS NULL OR a.role_id = $6) AND ($7::boolean IS NULL OR a.inherited = $7)
ORDER BY a.role_id, a.user_id, a.group_id, a.project_id, a.domain_id LIMIT $8

-- assignment_effective --
-- As they hold for users: groups, inheritance and implied roles resolved. Filters as for assignment_list, $2 and $7 left out.
WITH RECURSIVE held AS (
    SELECT u.id AS user_id, r.project_id, r.domain_id, r.role_id
    FROM identity_users u CROSS JOIN LATERAL identity_reach(u.id) r
    WHERE $1::text IS NULL OR u.id = $1
    UNION
    SELECT h.user_id, h.project_id, h.domain_id, i.implied_id FROM held h JOIN identity_implied_roles i ON i.prior_id = h.role_id
)
SELECT h.user_id, NULL::text AS group_id, h.project_id, h.domain_id, h.role_id, false AS inherited
FROM held h JOIN identity_roles r ON r.id = h.role_id
WHERE r.domain_id IS NULL AND ($2::text[] IS NULL OR h.project_id = ANY ($2)) AND ($3::text IS NULL OR h.domain_id = $3)
  AND ($4::boolean IS NULL OR (h.project_id IS NULL AND h.domain_id IS NULL) = $4) AND ($5::text IS NULL OR h.role_id = $5)
ORDER BY h.role_id, h.user_id, h.project_id, h.domain_id LIMIT $6

-- assignments_lock --
-- Nobody is given a role or joins a group until the transaction ends; reading goes on.
LOCK TABLE identity_assignments, identity_memberships IN SHARE ROW EXCLUSIVE MODE

-- names --
-- Names, with their domains, of the users, groups, projects, domains and roles with the ids $1.
SELECT x.id, x.name, x.domain_id, d.name AS domain_name FROM (
    SELECT id, name, domain_id FROM identity_users UNION ALL
    SELECT id, name, domain_id FROM identity_groups UNION ALL
    SELECT id, name, domain_id FROM identity_projects UNION ALL
    SELECT id, name, domain_id FROM identity_roles
) x LEFT JOIN identity_projects d ON d.id = x.domain_id
WHERE x.id = ANY ($1::text[])

-- credential_insert --
-- $1 id, $2 user, $3 project, $4 name, $5 secret's hash, $6 description, $7 role ids, $8 unrestricted, $9 expiry, $10 access rule ids
INSERT INTO identity_application_credentials
    (id, user_id, project_id, name, secret_hash, description, roles, unrestricted, expires_at, access_rules)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)

-- credential_delete --
DELETE FROM identity_application_credentials WHERE id = $1

-- credential_show --
SELECT id, user_id, project_id, name, secret_hash, description, roles, unrestricted, expires_at, access_rules
FROM identity_application_credentials WHERE id = $1

-- credential_list --
-- Those of the user $1, named $2 unless NULL.
SELECT id, user_id, project_id, name, secret_hash, description, roles, unrestricted, expires_at, access_rules
FROM identity_application_credentials WHERE user_id = $1 AND ($2::text IS NULL OR name = $2) ORDER BY name

-- credential_count --
SELECT count(*) AS n FROM identity_application_credentials WHERE user_id = $1

-- bootstrap_lock --
-- Held until the transaction ends; one process at a time makes what must exist.
SELECT pg_advisory_xact_lock(7310582417)::text AS locked
