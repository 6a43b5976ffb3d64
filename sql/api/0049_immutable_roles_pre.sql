-- The roles that the services know are kept from being deleted or renamed by mistake, as in a new Keystone.
UPDATE identity_roles SET options = options || '{"immutable": true}'
WHERE domain_id IS NULL AND name_key IN ('admin', 'manager', 'member', 'reader', 'service') AND NOT options ? 'immutable';
