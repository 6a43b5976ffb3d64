"""A stand-in for a virtual machine: joins a tap of this network namespace to ``eth0`` of a fresh one, frame by frame.

    guest.py TAP MAC

Prints "ready"; ends with its standard input.
"""

import ctypes
import fcntl
import os
import selectors
import struct
import subprocess
import sys

TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000
CLONE_NEWNET = 0x40000000


def main(tap: str, mac: str) -> None:
    outside = attach(tap)
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    inside = attach("eth0")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.run(["ip", "link", "set", "eth0", "address", mac, "mtu", "1450", "up"], check=True)
    print("ready", flush=True)
    ends = {outside: inside, inside: outside}
    with selectors.DefaultSelector() as selector:
        for descriptor in (outside, inside, sys.stdin.fileno()):
            selector.register(descriptor, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fd not in ends:
                    return
                pass_on(key.fd, ends[key.fd])


def attach(name: str) -> int:
    descriptor = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    return descriptor


def pass_on(source: int, target: int) -> None:
    try:
        os.write(target, os.read(source, 65536))
    except OSError:
        pass  # an interface that is down loses frames


if __name__ == "__main__":
    main(*sys.argv[1:])
