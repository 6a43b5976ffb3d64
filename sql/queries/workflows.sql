-- insert --
-- New live workflows, already held by the process that makes them when $9 is its name (NULL: anybody may take them).
-- $1 ids, $2 kind, $3 their subjects, $4 parent, $5 first step, $6 its task state, $7 input, $8 context, $9 owner, $10 lease in seconds, $11 request id, $12 deadline in seconds
INSERT INTO workflows (id, kind, subject_id, parent_id, state, step, task_state, input, context, owner, lease_until, request_id, deadline)
SELECT n.id, $2, n.subject_id, $4, 'running', $5, $6, $7, $8, $9,
       CASE WHEN $9::text IS NULL THEN NULL ELSE now() + make_interval(secs => $10) END, $11,
       now() + make_interval(secs => $12)
FROM unnest($1::uuid[], $3::uuid[]) AS n (id, subject_id)
ON CONFLICT DO NOTHING
RETURNING *

-- insert_queued --
-- A workflow that waits for the live one of its subject to end.
-- $1 id, $2 kind, $3 subject, $4 first step, $5 its task state, $6 input, $7 context, $8 request id
INSERT INTO workflows (id, kind, subject_id, state, step, task_state, input, context, request_id)
VALUES ($1, $2, $3, 'queued', $4, $5, $6, $7, $8)
ON CONFLICT DO NOTHING
RETURNING *

-- insert_finished --
-- An operation that its caller finished in the same transaction.
-- $1 id, $2 kind, $3 subject, $4 context, $5 request id, $6 history
INSERT INTO workflows (id, kind, subject_id, state, context, request_id, history, finished_at)
VALUES ($1, $2, $3, 'done', $4, $5, $6, now())

-- queued_of --
-- The workflow of a subject that waits for its turn. $1 subject
SELECT * FROM workflows WHERE subject_id = $1 AND state = 'queued'

-- cancel_queued --
-- Something more urgent takes its place. $1 id
UPDATE workflows SET state = 'cancelled', finished_at = now(), updated_at = now() WHERE id = $1 AND state = 'queued'

-- live_of --
-- The live workflow of a subject. $1 subject
SELECT * FROM workflows WHERE subject_id = $1 AND state IN ('running', 'waiting', 'undoing')

-- signal_live --
-- Tell the live workflow of a subject to stop, unless it is of the kind that asks; locks it until the caller's commit.
-- $1 subject, $2 signal, $3 the kind that asks
UPDATE workflows
SET signal = CASE WHEN kind = $3 THEN signal ELSE coalesce(signal, $2) END, wake_at = now(), updated_at = now()
WHERE subject_id = $1 AND state IN ('running', 'waiting', 'undoing')
RETURNING *

-- signal_one --
-- Tell one live workflow to stop. $1 id, $2 signal
UPDATE workflows SET signal = coalesce(signal, $2), wake_at = now(), updated_at = now()
WHERE id = $1 AND state IN ('running', 'waiting', 'undoing')
RETURNING *

-- take --
-- Take over workflows whose time has come and that nobody holds. $1 owner, $2 lease in seconds, $3 at most
UPDATE workflows SET owner = $1, lease_until = now() + make_interval(secs => $2), updated_at = now()
WHERE id IN (
    SELECT id FROM workflows
    WHERE state IN ('running', 'waiting', 'undoing') AND wake_at <= now() AND (lease_until IS NULL OR lease_until < now())
    ORDER BY wake_at LIMIT $3 FOR UPDATE SKIP LOCKED
)
RETURNING *

-- renew --
-- Keep the leases of what we work on; rows that are missing from the answer are ours no more. $1 owner, $2 ids, $3 lease in seconds
UPDATE workflows SET lease_until = now() + make_interval(secs => $3)
WHERE owner = $1 AND id = ANY ($2::uuid[]) AND state IN ('running', 'waiting', 'undoing')
RETURNING id, signal

-- let_go --
-- Give up the leases of a process that stops. $1 owner
UPDATE workflows SET owner = NULL, lease_until = NULL, wake_at = least(wake_at, now()) WHERE owner = $1

-- let_all_go --
-- Give up every lease: for the process that has the database to itself and has just started.
UPDATE workflows SET owner = NULL, lease_until = NULL WHERE owner IS NOT NULL

-- let_predecessors_go --
-- Give up the leases of earlier runs of a process that has just started. $1 what their owner names begin with
UPDATE workflows SET owner = NULL, lease_until = NULL WHERE starts_with(owner, $1)

-- advance --
-- Write one move of a workflow that we hold; no row comes back when we do not hold it any more.
-- $1 id, $2 owner, $3 state, $4 step, $5 task state, $6 attempt, $7 results to merge, $8 names of results to drop, $9 events to append,
-- $10 past the point of no return, $11 seconds until it wants to run again, $12 deadline of the step in seconds, $13 error, $14 keep the lease
UPDATE workflows SET
    state = $3, step = $4, task_state = $5, attempt = $6, results = (results - $8::text[]) || $7, history = history || $9,
    point_of_no_return = point_of_no_return OR $10, wake_at = now() + make_interval(secs => $11),
    deadline = now() + make_interval(secs => $12), error = $13,
    owner = CASE WHEN $14 THEN owner END, lease_until = CASE WHEN $14 THEN lease_until END, updated_at = now(),
    finished_at = CASE WHEN $3 IN ('done', 'failed', 'cancelled') THEN now() END
WHERE id = $1 AND owner = $2 AND state IN ('running', 'waiting', 'undoing')
RETURNING signal

-- promote --
-- The subject is free: let its queued workflow begin, held by us. $1 subject, $2 owner, $3 lease in seconds
UPDATE workflows SET state = 'running', wake_at = now(), owner = $2, lease_until = now() + make_interval(secs => $3), updated_at = now()
WHERE subject_id = $1 AND state = 'queued'
RETURNING *

-- promote_stray --
-- Queued workflows whose subject has no live one (their predecessor ended elsewhere).
UPDATE workflows q SET state = 'running', wake_at = now(), updated_at = now()
WHERE q.state = 'queued'
  AND NOT EXISTS (SELECT FROM workflows l WHERE l.subject_id = q.subject_id AND l.state IN ('running', 'waiting', 'undoing'))

-- wake_parent --
-- A child ended: its parent looks whether it was the last. $1 parent
UPDATE workflows SET wake_at = now() WHERE id = $1 AND state = 'waiting'

-- children --
-- The children of a workflow. $1 parent
SELECT * FROM workflows WHERE parent_id = $1 ORDER BY created_at, id

-- get --
-- One workflow. $1 id
SELECT * FROM workflows WHERE id = $1

-- is_live --
-- Whether an operation is going forward, or being undone where that is asked. $1 id, $2 undone
SELECT EXISTS (
    SELECT FROM workflows WHERE id = $1 AND CASE WHEN $2::boolean THEN state = 'undoing' ELSE state IN ('running', 'waiting') END
) AS live

-- of_subject --
-- All that was ever done to a server, newest first. $1 subject
SELECT * FROM workflows WHERE subject_id = $1 ORDER BY created_at DESC, id

-- by_request --
-- What one request did to a server. $1 subject, $2 request id
SELECT * FROM workflows WHERE subject_id = $1 AND request_id = $2 ORDER BY created_at LIMIT 1

-- recent --
-- For operators: workflows in one of some states (empty: all), newest first. $1 states, $2 at most
SELECT * FROM workflows WHERE cardinality($1::text[]) = 0 OR state = ANY ($1) ORDER BY created_at DESC LIMIT $2

-- revive --
-- Let a failed workflow run again from the step where it failed. $1 id, $2 state (running or undoing)
UPDATE workflows SET state = $2, owner = NULL, lease_until = NULL, wake_at = now(), deadline = NULL, finished_at = NULL, error = NULL, signal = NULL,
    attempt = attempt + 1, updated_at = now()
WHERE id = $1 AND state IN ('failed', 'cancelled')
RETURNING *

-- live_count --
-- How many operations are open.
SELECT count(*) FROM workflows WHERE state IN ('queued', 'running', 'waiting', 'undoing')
