"""What passes the cable of a host of the lab: every TCP connection, who opened it to whom, and what its opener said first."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

SO_RCVBUFFORCE = 33  # socket(7); the module has no name for it
ALL_PROTOCOLS, IPV4, TCP = 0x0003, 0x0800, 6
SYN, ACK = 0x02, 0x10
TLS_HANDSHAKE = b"\x16\x03"  # content type and the major version that all of TLS has
BUFFER = 64 * 2**20
Flow = tuple[str, int, str, int]  # who opened it, and where to


class Wire:
    """``first``: the first bytes of whoever opened a connection while this listened; ``seen``: which of the ``canaries`` passed."""

    def __init__(self, canaries: tuple[bytes, ...]) -> None:
        self.canaries = canaries
        self.first: dict[Flow, bytes] = {}
        self.seen: set[bytes] = set()
        self.octets = 0

    def take(self, frame: bytes) -> None:
        """A frame of Ethernet."""
        if len(frame) < 34 or struct.unpack_from("!H", frame, 12)[0] != IPV4 or frame[23] != TCP:
            return
        packet = frame[14 : 14 + struct.unpack_from("!H", frame, 16)[0]]
        segment = packet[(packet[0] & 15) * 4 :]
        ports = struct.unpack_from("!HH", segment)
        flow = (socket.inet_ntoa(packet[12:16]), ports[0], socket.inet_ntoa(packet[16:20]), ports[1])
        flags, payload = segment[13], segment[(segment[12] >> 4) * 4 :]
        if flags & (SYN | ACK) == SYN:
            self.first[flow] = b""
        elif payload and self.first.get(flow) == b"":
            self.first[flow] = payload[:16]
        self.octets += len(payload)
        self.seen.update(canary for canary in self.canaries if canary in payload)

    def spoken(self, address: str, ports: range) -> list[bytes]:
        """First words of all connections to these ports, of those who said something."""
        return [said for (_, _, to, port), said in self.first.items() if to == address and port in ports and said]

    def bare(self) -> dict[Flow, bytes]:
        """Connections that did not begin as TLS does."""
        return {flow: said for flow, said in self.first.items() if said and not said.startswith(TLS_HANDSHAKE)}


@asynccontextmanager
async def listening(device: str, *canaries: bytes) -> AsyncIterator[Wire]:
    """Needs root."""
    wire, loop = Wire(canaries), asyncio.get_running_loop()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL_PROTOCOLS)) as tap:
        tap.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
        tap.bind((device, 0))
        tap.setblocking(False)

        def read() -> None:
            for _ in range(256):
                try:
                    wire.take(tap.recv(65_536))
                except BlockingIOError:
                    return

        loop.add_reader(tap, read)
        try:
            yield wire
        finally:
            read()
            loop.remove_reader(tap)
