-- put --
-- Let notifications wait. $1 message ids, $2 event types, $3 publishers, $4 what their payloads are made of
INSERT INTO notifications (message_id, event_type, publisher_id, facts)
SELECT n.message_id, n.event_type, n.publisher_id, $4
FROM unnest($1::uuid[], $2::text[], $3::text[]) WITH ORDINALITY AS n (message_id, event_type, publisher_id, place)
ORDER BY n.place

-- put_of_server --
-- Let notifications wait that show a server's row as it is now; without what is secret or large in it.
-- $1 message ids, $2 event types, $3 services, $4 our host, for servers that have none, $5 the server, $6 more facts
WITH shown AS (
    SELECT i.host, i.vm_state, to_jsonb(i) - '{user_data,injected_files,password_data,system_metadata,network_requests,old_flavor}'::text[] AS row
    FROM instances i WHERE i.uuid = $5
), put AS (
    INSERT INTO notifications (message_id, event_type, publisher_id, facts)
    SELECT n.message_id, n.event_type,
           n.service || ':' || CASE WHEN n.service = 'nova-compute' THEN coalesce(s.host, $4) ELSE $4 END,
           $6::jsonb || jsonb_build_object('instance', s.row)
    FROM shown s, unnest($1::uuid[], $2::text[], $3::text[]) WITH ORDINALITY AS n (message_id, event_type, service, place)
    ORDER BY n.place
)
SELECT vm_state FROM shown

-- take_turn --
-- Whether we are the only one who publishes, until the transaction ends.
SELECT pg_try_advisory_xact_lock(hashtext('notifications'))

-- oldest --
-- The notifications that wait, in their order. $1 at most
SELECT number, message_id, event_type, publisher_id, facts, created_at FROM notifications ORDER BY number LIMIT $1

-- forget --
-- The bus has these. $1 their numbers
DELETE FROM notifications WHERE number = ANY ($1::bigint[])

-- drop_old --
-- Give up on those that nobody wanted for too long. $1 seconds
DELETE FROM notifications WHERE created_at < now() - make_interval(secs => $1)
