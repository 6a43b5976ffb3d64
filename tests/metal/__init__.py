"""Bare metal against a real Ironic, whose machines are pretended by its own fake hardware type: ``make test-metal``."""
