"""Periodic care. A reconciler takes no input, re-reads the world, and may be run at any time, twice, or late."""
