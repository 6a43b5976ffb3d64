"""A host in a process of its own, and so in another network namespace than the test's: it is told by lines what to plug.

    python -m tests.network.other_host FOLDER DEVICE

A line is JSON: a server's id and its ports; without any the server is unplugged. The answer is ``done``. It ends with its standard input.
``DEVICE`` is its way to the physical network ``lan``.
"""

import asyncio
import sys
from pathlib import Path

import msgspec

from nova_async.compute.plugging import LinuxBridgePlugs
from nova_async.model.guests import PortSpec
from nova_async.world import RealWorld

NOWHERE = "http://127.0.0.1:9"
Told = tuple[str, tuple[PortSpec, ...]]


async def main(folder: Path, device: str) -> None:
    plugs = LinuxBridgePlugs(RealWorld(), folder, NOWHERE, "between-us", physical_networks={"lan": device})
    await plugs.start()
    print("ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        server, ports = msgspec.json.decode(line, type=Told)
        await (plugs.plug(server, ports) if ports else plugs.unplug(server))
        print("done", flush=True)
    await plugs.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
