"""OpenStack's dashboard against the all-in-one (``make test-horizon``)."""
