-- Other hosts reach volumes by NBD or iSCSI; a way stays what it was made as.
ALTER TABLE volume_exports ADD protocol text NOT NULL DEFAULT 'nbd' CONSTRAINT volume_exports_protocol CHECK (protocol IN ('nbd', 'iscsi'));
