"""OpenStack's own acceptance suite, run against a cloud of ours: ``make tempest``."""
