"""Who is asking: the built-in identity service (Keystone v3 over HTTP), and a client of the real one.

``builtin.BuiltinIdentity`` and ``remote.RemoteTokens`` both satisfy ``services.web.Identity``.
"""
