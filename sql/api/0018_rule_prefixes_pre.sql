-- Remote prefixes of rules as their users wrote them: 10.0.0.7/24 is shown so, and means 10.0.0.0/24.
ALTER TABLE security_group_rules ADD COLUMN remote_ip_given text;
