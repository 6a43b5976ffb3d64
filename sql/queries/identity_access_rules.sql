-- rule_ensure --
-- $1 id, $2 user, $3 service, $4 method, $5 path. Answers the rule that the user has then, by whatever id.
WITH made AS (
    INSERT INTO identity_access_rules (id, user_id, service, method, path) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING
    RETURNING id, service, method, path
)
SELECT id, service, method, path FROM made
UNION ALL
SELECT id, service, method, path FROM identity_access_rules WHERE user_id = $2 AND service = $3 AND method = $4 AND path = $5

-- rule_delete --
DELETE FROM identity_access_rules WHERE id = $1

-- rule_show --
-- That of the user $1 with the id $2.
SELECT id, service, method, path FROM identity_access_rules WHERE user_id = $1 AND id = $2

-- rule_list --
-- Those of the user $1. NULL leaves a filter out: $2 service, $3 method, $4 path, $5 after this id; $6 at most
SELECT id, service, method, path FROM identity_access_rules
WHERE user_id = $1 AND ($2::text IS NULL OR service = $2) AND ($3::text IS NULL OR method = $3) AND ($4::text IS NULL OR path = $4)
  AND ($5::text IS NULL OR id > $5)
ORDER BY id LIMIT $6

-- rule_count --
SELECT count(*) AS n FROM identity_access_rules WHERE user_id = $1

-- rule_is_used --
-- Whether a credential of the user $1 has the rule $2.
SELECT EXISTS (SELECT FROM identity_application_credentials WHERE user_id = $1 AND $2 = ANY (access_rules)) AS used

-- rules_of_credential --
-- In the order in which they were given.
SELECT r.id, r.service, r.method, r.path
FROM identity_application_credentials c, unnest(c.access_rules) WITH ORDINALITY AS given (id, place)
JOIN identity_access_rules r ON r.id = given.id
WHERE c.id = $1 ORDER BY given.place
