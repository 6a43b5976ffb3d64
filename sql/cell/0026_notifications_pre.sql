-- Notifications wait here, written by the transaction that made the change they tell of, until the bus has them.

CREATE TABLE notifications (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,  -- their order
    message_id uuid NOT NULL,                                -- the same however often it is sent
    event_type text NOT NULL,
    publisher_id text NOT NULL,                              -- <service>:<host>
    facts jsonb NOT NULL,                                    -- what its payload is made of
    created_at timestamptz NOT NULL DEFAULT now()
);
