-- Limits of the network service that somebody set for a project; the configuration has the others.

CREATE TABLE network_quotas (
    project_id text NOT NULL,
    resource   text NOT NULL,
    hard_limit integer NOT NULL,                       -- -1: none
    PRIMARY KEY (project_id, resource)
);
