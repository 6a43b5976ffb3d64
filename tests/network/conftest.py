"""A host whose plugs are real, for every file of this folder."""

from tests.network.test_plugging import host, namespace

__all__ = ["host", "namespace"]
