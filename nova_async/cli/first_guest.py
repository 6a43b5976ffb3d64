"""The first server of a new cloud: an image, a key pair, a server, and the moment its login prompt appears.

All of it over the public API, as any user would.
"""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nova_async.cli.client import Client
from nova_async.config import Config
from nova_async.errors import Error

if TYPE_CHECKING:
    from nova_async.app import App
    from nova_async.cli.progress import Progress

IMAGE, SERVER, KEY = "testguest", "first", "first"
PROOF = ("dhcp", "metadata", "config drive", "config-drive", "login:")
PROMPT_SECONDS = 300.0
ACTIVE_SECONDS = 900.0


async def boot_first_guest(running: "App", config: Config, say: "Progress") -> None:
    """Boot the server ``first`` unless it is there already; report each stage. Raises ``Error``."""
    assert running.secrets is not None
    login = running.secrets.demo
    async with Client(config.public_url, login.username, login.password, login.project_name, root=running.certificates.root) as user:
        found = (await user.ask("GET", f"/compute/v2.1/servers?name=^{SERVER}$"))["servers"]
        if found:
            say(f"the server {SERVER} is there from an earlier run ({found[0]['id']})")
            return
        image = await _image(running, config, user, say)
        key = await _key(config.state, user)
        server = await _boot(user, image, key, config.compute.driver)
        say(f"first server {server} accepted")
        await _until_active(user, server, say)
        if config.compute.driver == "libvirt":
            await _until_prompt(user, server, say)
        address = await _address(user, server)
        say(f"the first server is ready{f' at {address}' if address else ''}")
        if address and config.compute.driver == "libvirt":
            say(f"log in:  ssh -i {config.state / 'first-key'} -o StrictHostKeyChecking=no root@{address}")


async def _image(running: "App", config: Config, user: Client, say: "Progress") -> str:
    if config.compute.driver != "libvirt":
        return str((await user.ask("GET", "/image/v2/images?limit=1"))["images"][0]["id"])
    known = (await user.ask("GET", f"/image/v2/images?name={IMAGE}"))["images"]
    if known:
        return str(known[0]["id"])
    from nova_async.virt.testguest import build

    say("building the test image from Debian packages (once)")
    path = await build(config.state / "testguest", running.world, install=True)
    say(f"uploading {path.name}")
    image = await _upload(running, config, path)
    say(f"image {IMAGE} is active")
    return image


async def _upload(running: "App", config: Config, path: Path) -> str:
    assert running.secrets is not None
    login = running.secrets.admin
    async with Client(config.public_url, login.username, login.password, login.project_name, root=running.certificates.root) as admin:
        body = {"name": IMAGE, "disk_format": "qcow2", "container_format": "bare", "visibility": "public"}
        image = await admin.ask("POST", "/image/v2/images", body)
        with await asyncio.to_thread(path.open, "rb") as data:
            await admin.upload(f"/image/v2/images/{image['id']}/file", data)
        return str(image["id"])


async def _key(state: Path, user: Client) -> str:
    """Import the public half of ``<state>/first-key``, made with ssh-keygen when it is not there."""
    private = state / "first-key"
    if not await asyncio.to_thread(private.exists):
        command = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "nova-async", "-f", str(private))
        process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.DEVNULL)
        async with asyncio.timeout(30):
            await process.wait()
    public = (await asyncio.to_thread(Path(f"{private}.pub").read_text)).strip()
    known = [k["keypair"] for k in (await user.ask("GET", "/compute/v2.1/os-keypairs"))["keypairs"]]
    if KEY not in {k["name"] for k in known}:
        await user.ask("POST", "/compute/v2.1/os-keypairs", {"keypair": {"name": KEY, "public_key": public, "type": "ssh"}})
    return KEY


async def _boot(user: Client, image: str, key: str, driver: str) -> str:
    flavors = {f["name"]: f["id"] for f in (await user.ask("GET", "/compute/v2.1/flavors"))["flavors"]}
    flavor = flavors.get("m1.nano") or min(flavors.values())
    server: dict[str, Any] = {"name": SERVER, "imageRef": image, "flavorRef": flavor, "key_name": key, "networks": "auto"}
    if driver == "libvirt":
        server["config_drive"] = True
    return str((await user.ask("POST", "/compute/v2.1/servers", {"server": server}))["server"]["id"])


async def _until_active(user: Client, server: str, say: "Progress") -> None:
    shown = ""
    async with asyncio.timeout(ACTIVE_SECONDS):
        while True:
            row = (await user.ask("GET", f"/compute/v2.1/servers/{server}"))["server"]
            stage = row["status"] + (f" ({row['OS-EXT-STS:task_state']})" if row.get("OS-EXT-STS:task_state") else "")
            if stage != shown:
                say(f"first server is {stage}")
                shown = stage
            if row["status"] == "ACTIVE":
                return
            if row["status"] == "ERROR":
                raise Error(row.get("fault", {}).get("message", "no reason given"))
            await asyncio.sleep(0.2)


async def _until_prompt(user: Client, server: str, say: "Progress") -> None:
    """Follow the guest's console until its login prompt; show the lines that prove its network and metadata."""
    told: set[str] = set()
    async with asyncio.timeout(PROMPT_SECONDS):
        while True:
            output = (await user.ask("POST", f"/compute/v2.1/servers/{server}/action", {"os-getConsoleOutput": {}}))["output"]
            for line in output.splitlines():
                line = line.strip()
                if line not in told and any(word in line.lower() for word in PROOF):
                    told.add(line)
                    say(f"guest: {line}")
            if any("login:" in line for line in told):
                say("the login prompt has appeared")
                return
            await asyncio.sleep(0.3)


async def _address(user: Client, server: str) -> str | None:
    addresses = (await user.ask("GET", f"/compute/v2.1/servers/{server}"))["server"]["addresses"]
    return next((a["addr"] for network in addresses.values() for a in network), None)
