-- What each host ran in each period that is over: the task log of Nova's usage audit.
CREATE TABLE usage_audits (
    host text NOT NULL,
    period_begin timestamptz NOT NULL,
    period_end timestamptz NOT NULL,
    instances bigint NOT NULL,
    errors bigint NOT NULL DEFAULT 0,
    message text NOT NULL DEFAULT '',
    finished_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT usage_audits_key PRIMARY KEY (period_begin, period_end, host)
);

-- Servers in the order in which usage is paged.
CREATE INDEX instances_by_owner ON instances (project_id, uuid);
