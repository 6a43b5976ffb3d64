-- Networks that reach from host to host: each has a VXLAN network identifier (RFC 7348, 24 bits) of its own.
CREATE SEQUENCE network_vnis AS integer MINVALUE 1 MAXVALUE 16777215 CYCLE;
ALTER TABLE networks ADD COLUMN vni integer NOT NULL DEFAULT nextval('network_vnis') CONSTRAINT networks_vni_key UNIQUE;
CREATE INDEX ports_of_hosts ON ports (network_id, host) WHERE host <> '';
