"""Kinds of consoles, and where one is to be had."""

import msgspec

VNC, SPICE, SERIAL = "vnc", "spice", "serial"
NOVNC, SPICE_HTML5, SPICE_DIRECT = "novnc", "spice-html5", "spice-direct"

PROTOCOLS: dict[str, str] = {  # console type -> what it speaks
    NOVNC: VNC,
    SPICE_HTML5: SPICE,
    SPICE_DIRECT: SPICE,
    SERIAL: SERIAL,
}
SHARED = frozenset({NOVNC})  # several may look at once; another console goes to whoever opens it last


class ConsoleAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Where a host offers a guest's console, until the guest is started anew.

    ``party``: whose certificate is shown there, over TLS that the console knows nothing of; empty: it is in the clear. ``tls_port`` is
    for SPICE and its own clients.
    """

    host: str
    port: int
    tls_port: int | None = None
    party: str = ""
