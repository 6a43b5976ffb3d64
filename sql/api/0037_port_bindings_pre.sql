-- Hosts that a port is got ready for beside the one that it is bound to, which its own row names (Neutron's inactive bindings).

CREATE TABLE port_bindings (
    port_id   uuid NOT NULL REFERENCES ports ON DELETE CASCADE,
    host      text NOT NULL,
    vif_type  text NOT NULL,                           -- unbound: it was the active one until another was activated
    profile   jsonb NOT NULL,
    CONSTRAINT port_bindings_key PRIMARY KEY (port_id, host)
);
