"""The first words of SPICE: whether a connection is another channel of a viewer's, or a new viewer, to whom the screen goes.

A viewer opens its main channel with connection id 0, and its others with the id that it was given then (SPICE protocol, "Link messages").
"""

import struct

HEADER = struct.Struct("<4sIIII")  # magic, major, minor, octets that follow, connection id
MAGIC = b"REDQ"


def is_new_viewer(words: bytes) -> bool:
    """``words``: as many as ``HEADER`` takes."""
    magic, _, _, _, connection = HEADER.unpack(words)
    return bool(magic == MAGIC and connection == 0)
