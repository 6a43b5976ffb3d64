"""nova_async: a compute service for clouds that speaks OpenStack Nova's API."""

__version__ = "0.1.0"
