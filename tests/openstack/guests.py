"""Guests that say what they find."""

import base64
import time
from typing import Any

from openstack.connection import Connection

ACTIVE_SECONDS, BOOT_SECONDS = 240, 400
WATCH = base64.b64encode(b"""#!/bin/sh
echo watching
while :; do
    if [ -b /dev/vdb ]; then
        if [ -z "$size" ]; then
            found=$(head -c 15 /dev/vdb | tr -d '\\0')
            echo "volume holds ${found:-nothing}"
            echo "from the $(hostname)" > /dev/vdb
            sync
            echo "volume written"
        fi
        now=$(cat /sys/block/vdb/size 2>/dev/null) || continue # it goes just now
        [ "$now" = "$size" ] || echo "volume has $now sectors"
        size=$now
    elif [ -n "$size" ]; then
        size=
        echo "volume gone"
    fi
    sleep 1
done
""").decode()


def booted(user: Connection, name: str, image: str, **fields: Any) -> Any:
    flavor = user.compute.find_flavor("m1.nano")
    fields = {"networks": "auto", "config_drive": True} | fields
    server = user.compute.create_server(name=name, image_id=image, flavor_id=flavor.id, **fields)
    return user.compute.wait_for_server(server, interval=0.5, wait=ACTIVE_SECONDS)


def said(user: Connection, server: Any, words: str) -> str:
    """The server's console once it has these words."""
    end = time.monotonic() + BOOT_SECONDS
    while True:
        told = str(user.compute.get_server_console_output(server)["output"])
        if words in told:
            return told
        assert time.monotonic() < end, told
        time.sleep(1)
