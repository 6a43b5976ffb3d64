"""The real services in place of ours (``make test-openstack``)."""
