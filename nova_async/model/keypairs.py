"""A key pair as its row tells it."""

from datetime import datetime

import msgspec

SSH, X509 = "ssh", "x509"


class KeyPair(msgspec.Struct, kw_only=True):
    """One row of ``keypairs``. The private half is never kept."""

    id: int
    user_id: str
    name: str
    type: str  # ssh, x509
    public_key: str
    fingerprint: str
    created_at: datetime
