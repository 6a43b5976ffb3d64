"""Names of ports in DNS, as Neutron's extension ``dns-integration`` gives them."""

import re

LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
HOST_NAME = re.compile(rf"{LABEL}(\.{LABEL})*\.?")  # RFC 1123, 2.1; at the most 255 characters


def assigned(address: str, name: str, domain: str) -> tuple[str, str]:
    """Host name and full name (with a dot at its end) of one address of a port.

    ``name``: the port's own, a full one if it ends with a dot. A port without one has one made of its address: ``host-10-0-0-5``.
    """
    host = name or f"host-{re.sub('[.:]+', '-', address).strip('-')}"
    if host.endswith("."):
        return host.partition(".")[0], host
    return host, f"{host}.{domain.strip('.')}." if domain.strip(".") else f"{host}."
