"""A flavor as its row tells it."""

from datetime import datetime

import msgspec


class Flavor(msgspec.Struct, kw_only=True):
    """One row of ``flavors``. Memory and swap in MiB, disks in GiB; ``flavorid`` is what the API calls id."""

    id: int
    flavorid: str
    name: str
    memory_mb: int
    vcpus: int
    root_gb: int
    ephemeral_gb: int = 0
    swap: int = 0
    rxtx_factor: float = 1.0
    is_public: bool = True
    disabled: bool = False
    description: str | None = None
    extra_specs: dict[str, str]
    created_at: datetime
    updated_at: datetime | None = None
