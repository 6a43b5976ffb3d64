"""The certificate authority of a cloud, and the certificates of its hosts.

``authority`` signs and revokes, beside the database; ``keeper`` keeps the certificate of one host, whose key never leaves it.
Every certificate names one party: ``compute.<host>`` for a worker, any name for another service.
"""
