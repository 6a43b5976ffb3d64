"""Serve a WSGI application of an OpenStack service: ``serve.py module:function address port``. Runs in the services' own environment."""

import importlib
import sys

import waitress

module, _, function = sys.argv[1].partition(":")
address, port = sys.argv[2:4]
sys.argv[1:] = []  # the services read the command line themselves
application = getattr(importlib.import_module(module), function)()
waitress.serve(application, host=address, port=int(port), threads=8, max_request_body_size=2**33, channel_timeout=600)
