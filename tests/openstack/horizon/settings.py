"""Horizon's own settings, and what it must know of one cloud. Read by Horizon, in its own environment."""

import os

from openstack_dashboard.settings import *  # noqa: F403

OPENSTACK_KEYSTONE_URL = os.environ["HORIZON_KEYSTONE_URL"]
SECRET_KEY = "for-tests"
ALLOWED_HOSTS = ["*"]
STATIC_ROOT = COMPRESS_ROOT = os.path.join(os.environ["HORIZON_FOLDER"], "static")
SESSION_ENGINE = "django.contrib.sessions.backends.file"
SESSION_FILE_PATH = os.environ["HORIZON_FOLDER"]
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
