"""A real Ironic in one process, with SQLite and machines of its fake hardware type."""

import asyncio
import subprocess
import time
from pathlib import Path
from typing import Any

import aiohttp

from tests.e2e.running import ADMIN, RunningCloud

BIN = Path(__file__).parents[2] / ".venv-ironic" / "bin"
READY_SECONDS = 120
CONFIGURATION = """\
[DEFAULT]
auth_strategy = noauth
rpc_transport = none
host = metal
my_ip = 127.0.0.1
state_path = {state}
enabled_hardware_types = fake-hardware
enabled_bios_interfaces = no-bios
enabled_boot_interfaces = fake
enabled_console_interfaces = no-console
enabled_deploy_interfaces = fake
enabled_firmware_interfaces = no-firmware
enabled_inspect_interfaces = no-inspect
enabled_management_interfaces = fake
enabled_network_interfaces = noop
enabled_power_interfaces = fake
enabled_raid_interfaces = no-raid
enabled_rescue_interfaces = no-rescue
enabled_storage_interfaces = noop
enabled_vendor_interfaces = no-vendor
default_deploy_interface = fake
default_network_interface = noop
[api]
host_ip = 127.0.0.1
port = {port}
[conductor]
automated_clean = true
[fake]
deploy_delay = 1
[database]
connection = sqlite:///{state}/ironic.sqlite
[oslo_concurrency]
lock_path = {state}/lock
[glance]
auth_type = password
auth_url = {url}/identity/v3
endpoint_override = {url}/image
username = {username}
password = {password}
project_name = {project}
user_domain_name = Default
project_domain_name = Default
"""


class RealIronic:
    """``start`` it, ``stop`` it. It asks for no token."""

    def __init__(self, state: Path, port: int) -> None:
        self.state, self.port, self.url = state, port, f"http://127.0.0.1:{port}"
        self._configuration = state / "ironic.conf"
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self, cloud: RunningCloud) -> None:
        """Its images are those of ``cloud``."""
        (self.state / "lock").mkdir(parents=True, exist_ok=True)
        login = cloud.clouds()[ADMIN]["auth"]
        known = {"username": login["username"], "password": login["password"], "project": login["project_name"], "url": cloud.url}
        self._configuration.write_text(CONFIGURATION.format(state=self.state, port=self.port, **known))
        self._process = await asyncio.to_thread(self._launch)
        end = time.monotonic() + READY_SECONDS
        while True:
            try:
                await self.ask("GET", "/v1/nodes")
                return
            except aiohttp.ClientError:
                assert self._process.poll() is None, (self.state / "ironic.log").read_text()[-3000:]
                assert time.monotonic() < end, "Ironic does not answer"
            await asyncio.sleep(0.3)

    def _launch(self) -> "subprocess.Popen[bytes]":
        known = ["--config-file", str(self._configuration)]
        with (self.state / "ironic.log").open("ab") as log:
            subprocess.run([BIN / "ironic-dbsync", *known, "create_schema"], check=True, stdout=log, stderr=log, timeout=120)
            return subprocess.Popen([BIN / "ironic", *known], stdout=log, stderr=log, cwd=self.state)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"X-OpenStack-Ironic-API-Version": "1.58"}
        async with aiohttp.ClientSession(headers=headers) as session, session.request(method, self.url + path, json=body) as answer:
            text = await answer.text()
            assert answer.status < 300, text
            return await answer.json() if text else None

    async def node(self, name: str) -> Any:
        return await self.ask("GET", f"/v1/nodes/{name}")

    async def enrol(self, name: str, resource_class: str = "baremetal.gold") -> str:
        """A machine that is ready to be used; its UUID."""
        properties = {"cpus": 8, "memory_mb": 16384, "local_gb": 100, "cpu_arch": "x86_64"}
        body = {"driver": "fake-hardware", "name": name, "resource_class": resource_class, "properties": properties}
        made = await self.ask("POST", "/v1/nodes", body)
        for target, state in (("manage", "manageable"), ("provide", "available")):
            await self.ask("PUT", f"/v1/nodes/{name}/states/provision", {"target": target})
            await self.until(name, provision_state=state)
        return str(made["uuid"])

    async def until(self, name: str, seconds: float = 60.0, **fields: Any) -> Any:
        """The node, once these of its fields are so."""
        end = time.monotonic() + seconds
        while True:
            node = await self.node(name)
            if all(node[field] == value for field, value in fields.items()):
                return node
            assert time.monotonic() < end, {field: node[field] for field in (*fields, "last_error")}
            await asyncio.sleep(0.2)
