-- How much of what projects and domains may have of services that ask the identity service for it.

CREATE TABLE identity_registered_limits (
    id              text PRIMARY KEY,
    service_id      text NOT NULL CONSTRAINT identity_registered_limits_service REFERENCES identity_services,
    region_id       text CONSTRAINT identity_registered_limits_region REFERENCES identity_regions,
    resource_name   text NOT NULL,
    default_limit   integer NOT NULL,                  -- -1: without end
    description     text,
    CONSTRAINT identity_registered_limits_key UNIQUE NULLS NOT DISTINCT (service_id, region_id, resource_name)
);

-- In place of the default, for one project or domain.
CREATE TABLE identity_limits (
    id                  text PRIMARY KEY,
    registered_limit_id text NOT NULL CONSTRAINT identity_limits_registered REFERENCES identity_registered_limits,
    project_id          text REFERENCES identity_projects ON DELETE CASCADE,
    domain_id           text REFERENCES identity_projects ON DELETE CASCADE,
    resource_limit      integer NOT NULL,
    description         text,
    CONSTRAINT identity_limits_key UNIQUE NULLS NOT DISTINCT (registered_limit_id, project_id, domain_id),
    CONSTRAINT identity_limits_owner CHECK (num_nonnulls(project_id, domain_id) = 1)
);
CREATE INDEX identity_limits_by_project ON identity_limits (project_id) WHERE project_id IS NOT NULL;
CREATE INDEX identity_limits_by_domain ON identity_limits (domain_id) WHERE domain_id IS NOT NULL;
