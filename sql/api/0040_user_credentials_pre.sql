-- What users keep in the identity service for others to ask for: certificates, keys of EC2 and the like.

CREATE TABLE identity_user_credentials (
    id              text PRIMARY KEY,                  -- of type ec2: the SHA-256 of the access key, in hexadecimal
    user_id         text NOT NULL REFERENCES identity_users ON DELETE CASCADE,
    project_id      text REFERENCES identity_projects ON DELETE CASCADE,
    type            text NOT NULL,
    sealed_blob     bytea NOT NULL                     -- sealed with the identity service's own key
);
CREATE INDEX identity_user_credentials_by_user ON identity_user_credentials (user_id);
CREATE INDEX identity_user_credentials_by_project ON identity_user_credentials (project_id) WHERE project_id IS NOT NULL;
