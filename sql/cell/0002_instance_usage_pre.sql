-- What a project's servers add up to is counted at each create (quotas): from this index alone, not from the wide rows.
CREATE INDEX instances_usage ON instances (project_id) INCLUDE (vcpus, memory_mb) WHERE NOT deleted;
