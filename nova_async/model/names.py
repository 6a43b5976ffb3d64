"""Names of ports in DNS, as Neutron's extension ``dns-integration`` gives them."""

import re

LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
HOST_NAME = re.compile(rf"{LABEL}(\.{LABEL})*\.?")  # RFC 1123, 2.1; at the most 255 characters
LONGEST = 254  # characters of a full name, with the dot at its end: what DNS can say (RFC 1035, 3.1)


def assigned(address: str, name: str, domain: str) -> tuple[str, str]:
    """Host name and full name (with a dot at its end) of one address of a port.

    ``name``: the port's own, a full one if it ends with a dot. A port without one, or with one that it may not have, has one made of its
    address: ``host-10-0-0-5``.
    """
    host = name if fits(name, domain) else f"host-{re.sub('[.:]', '-', address).strip('-')}"
    return host.partition(".")[0] if host.endswith(".") else host, _full(host, domain)


def fits(name: str, domain: str) -> bool:
    """Whether a port of a network with this domain may have this name: not one of somebody elsewhere, nor one too long to be told."""
    full, own = _full(name, domain), domain.strip(".").lower()
    inside = full.lower().endswith(f".{own}.") if own else full.count(".") == 1
    return HOST_NAME.fullmatch(name) is not None and len(full) <= LONGEST and inside


def _full(name: str, domain: str) -> str:
    if name.endswith("."):
        return name
    return f"{name}.{domain.strip('.')}." if domain.strip(".") else f"{name}."
