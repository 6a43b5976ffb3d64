-- For which requests application credentials may be used, beside what their roles allow.

-- Kept for the user, also when the last credential that had it is gone.
CREATE TABLE identity_access_rules (
    id              text PRIMARY KEY,
    user_id         text NOT NULL REFERENCES identity_users ON DELETE CASCADE,
    service         text NOT NULL,                     -- a type, as in a catalog
    method          text NOT NULL,
    path            text NOT NULL,                     -- * and {name} stand for a segment or a part of one, ** for any
    CONSTRAINT identity_access_rules_key UNIQUE (user_id, service, method, path)
);

-- Ids; without any, the credential may be used for all that its roles allow.
ALTER TABLE identity_application_credentials ADD COLUMN access_rules text[] NOT NULL DEFAULT '{}';
