-- alone --
-- Others who change the same thing wait until the transaction ends. $1 the thing: its kind and id
SELECT pg_advisory_xact_lock(hashtextextended('change/' || $1::text, 0))
