-- Who may ask: domains, projects, users, groups, roles, the catalog, and what makes tokens live and die.

-- A domain is a project with is_domain; its domain_id is NULL.
-- name_key is the name compatibility-composed and case-folded: two names that look alike are one name.
CREATE TABLE identity_projects (
    id              text PRIMARY KEY,
    domain_id       text REFERENCES identity_projects ON DELETE CASCADE,
    parent_id       text CONSTRAINT identity_projects_parent REFERENCES identity_projects,
    name            text NOT NULL,
    name_key        text NOT NULL,
    description     text NOT NULL DEFAULT '',
    enabled         boolean NOT NULL DEFAULT true,
    is_domain       boolean NOT NULL DEFAULT false,
    tags            text[] NOT NULL DEFAULT '{}',
    options         jsonb NOT NULL DEFAULT '{}',
    extra           jsonb NOT NULL DEFAULT '{}',
    CONSTRAINT identity_projects_name_key UNIQUE NULLS NOT DISTINCT (domain_id, name_key),
    CONSTRAINT identity_projects_domain CHECK (is_domain = (domain_id IS NULL))
);
CREATE INDEX identity_projects_by_parent ON identity_projects (parent_id);

CREATE TABLE identity_users (
    id                  text PRIMARY KEY,
    domain_id           text NOT NULL REFERENCES identity_projects ON DELETE CASCADE,
    name                text NOT NULL,
    name_key            text NOT NULL,
    password_hash       text,                      -- argon2id; NULL: cannot log in with a password
    enabled             boolean NOT NULL DEFAULT true,
    default_project_id  text,
    options             jsonb NOT NULL DEFAULT '{}',
    extra               jsonb NOT NULL DEFAULT '{}',   -- description, email and what else the creator said
    CONSTRAINT identity_users_name_key UNIQUE (domain_id, name_key)
);

CREATE TABLE identity_groups (
    id              text PRIMARY KEY,
    domain_id       text NOT NULL REFERENCES identity_projects ON DELETE CASCADE,
    name            text NOT NULL,
    name_key        text NOT NULL,
    description     text NOT NULL DEFAULT '',
    extra           jsonb NOT NULL DEFAULT '{}',
    CONSTRAINT identity_groups_name_key UNIQUE (domain_id, name_key)
);

CREATE TABLE identity_memberships (
    group_id        text NOT NULL REFERENCES identity_groups ON DELETE CASCADE,
    user_id         text NOT NULL REFERENCES identity_users ON DELETE CASCADE,
    PRIMARY KEY (group_id, user_id)
);
CREATE INDEX identity_memberships_by_user ON identity_memberships (user_id);

-- A role of a domain (domain_id set) never appears in a token; the roles that it implies do.
CREATE TABLE identity_roles (
    id              text PRIMARY KEY,
    domain_id       text REFERENCES identity_projects ON DELETE CASCADE,
    name            text NOT NULL,
    name_key        text NOT NULL,
    description     text,
    options         jsonb NOT NULL DEFAULT '{}',
    extra           jsonb NOT NULL DEFAULT '{}',
    CONSTRAINT identity_roles_name_key UNIQUE NULLS NOT DISTINCT (domain_id, name_key)
);

CREATE TABLE identity_implied_roles (
    prior_id        text NOT NULL REFERENCES identity_roles ON DELETE CASCADE,
    implied_id      text NOT NULL REFERENCES identity_roles ON DELETE CASCADE,
    PRIMARY KEY (prior_id, implied_id)
);

-- Who has which role where. Neither project nor domain: on the system.
CREATE TABLE identity_assignments (
    user_id         text REFERENCES identity_users ON DELETE CASCADE,
    group_id        text REFERENCES identity_groups ON DELETE CASCADE,
    project_id      text REFERENCES identity_projects ON DELETE CASCADE,
    domain_id       text REFERENCES identity_projects ON DELETE CASCADE,
    role_id         text NOT NULL REFERENCES identity_roles ON DELETE CASCADE,
    inherited       boolean NOT NULL DEFAULT false,    -- holds for the projects below, not for the target itself
    CONSTRAINT identity_assignments_key UNIQUE NULLS NOT DISTINCT (user_id, group_id, project_id, domain_id, role_id, inherited),
    CONSTRAINT identity_assignments_actor CHECK (num_nonnulls(user_id, group_id) = 1),
    CONSTRAINT identity_assignments_target CHECK (num_nonnulls(project_id, domain_id) <= 1)
);
CREATE INDEX identity_assignments_by_group ON identity_assignments (group_id) WHERE group_id IS NOT NULL;
CREATE INDEX identity_assignments_by_project ON identity_assignments (project_id) WHERE project_id IS NOT NULL;

CREATE TABLE identity_application_credentials (
    id              text PRIMARY KEY,
    user_id         text NOT NULL REFERENCES identity_users ON DELETE CASCADE,
    project_id      text NOT NULL REFERENCES identity_projects ON DELETE CASCADE,
    name            text NOT NULL,
    secret_hash     text NOT NULL,                     -- argon2id
    description     text,
    roles           text[] NOT NULL,                   -- ids
    unrestricted    boolean NOT NULL DEFAULT false,
    expires_at      timestamptz,
    CONSTRAINT identity_application_credentials_key UNIQUE (user_id, name)
);

CREATE TABLE identity_regions (
    id                  text PRIMARY KEY,
    description         text NOT NULL DEFAULT '',
    parent_region_id    text CONSTRAINT identity_regions_parent REFERENCES identity_regions,
    extra               jsonb NOT NULL DEFAULT '{}'
);

CREATE TABLE identity_services (
    id              text PRIMARY KEY,
    type            text NOT NULL,
    name            text NOT NULL DEFAULT '',
    description     text,
    enabled         boolean NOT NULL DEFAULT true,
    extra           jsonb NOT NULL DEFAULT '{}'
);

CREATE TABLE identity_endpoints (
    id              text PRIMARY KEY,
    service_id      text NOT NULL REFERENCES identity_services ON DELETE CASCADE,
    region_id       text CONSTRAINT identity_endpoints_region REFERENCES identity_regions,
    interface       text NOT NULL CHECK (interface IN ('public', 'internal', 'admin')),
    url             text NOT NULL,
    enabled         boolean NOT NULL DEFAULT true,
    extra           jsonb NOT NULL DEFAULT '{}'
);

-- The keys that sign tokens. The newest signs, all verify.
CREATE TABLE identity_keys (
    id              integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    secret          bytea NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now()
);

-- A token remembers the epochs of its subjects (user, project ...) as they were when it was made; it is
-- dead once one of them has a later epoch here. The numbers come from one sequence, so a row may go when
-- every token that it could concern has expired.
CREATE SEQUENCE identity_epochs;
CREATE TABLE identity_revocations (
    subject         text PRIMARY KEY,                  -- user:ID, project:ID, grant:USER@SCOPE, token:AUDIT ...
    epoch           bigint NOT NULL,
    until           timestamptz NOT NULL
);

-- What one user may do where, groups and inheritance resolved, implied roles not yet.
CREATE FUNCTION identity_reach(who text) RETURNS TABLE (project_id text, domain_id text, role_id text)
LANGUAGE sql STABLE AS $$
    WITH RECURSIVE mine AS (
        SELECT a.project_id, a.domain_id, a.role_id, a.inherited FROM identity_assignments a
        WHERE a.user_id = who OR a.group_id IN (SELECT m.group_id FROM identity_memberships m WHERE m.user_id = who)
    ), below AS (
        SELECT p.id, m.role_id FROM mine m
        JOIN identity_projects p ON p.parent_id = m.project_id OR p.domain_id = m.domain_id
        WHERE m.inherited
        UNION
        SELECT p.id, b.role_id FROM below b JOIN identity_projects p ON p.parent_id = b.id
    )
    SELECT m.project_id, m.domain_id, m.role_id FROM mine m WHERE NOT m.inherited
    UNION
    SELECT b.id, NULL, b.role_id FROM below b
$$;
