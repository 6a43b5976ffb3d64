"""Bare metal: each node of an Ironic is a host that runs one server, the whole machine."""
