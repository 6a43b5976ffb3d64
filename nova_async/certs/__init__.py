"""The certificate authority of a cloud, and the certificates of its hosts.

``authority`` signs and revokes, beside the database; ``keeper`` keeps the certificate of one host, whose key never leaves it.
Every certificate names one party: ``compute.<host>`` for a worker, ``app`` for the application, ``console`` for consoles in
processes of their own, any other name for another service.
"""

WORKER = "compute."  # a worker's party is this and its host's name: its target on the bus
APPLICATION, CONSOLE = "app", "console"
IDENTITY, ROOT, REVOKED = "identity.pem", "ca-cert.pem", "ca-crl.pem"  # files of a certificate's directory
