"""Policies that are decided within a request, beside that of its row: what to ask, and how to see whether they let the caller in."""

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from tests.api.conftest import IMAGE, NETWORK, OTHER_PROJECT, PROJECT, Answer, Api
from tests.api.test_instance_actions import stopped
from tests.api.test_migrations import ended, migrating

COMPUTE = "os_compute_api:"
NONE = "00000000-0000-4000-8000-000000000000"
CERTIFICATES = {"trusted_image_certificates": [NONE]}
VOLUME = {"boot_index": 0, "uuid": NONE, "source_type": "volume", "destination_type": "volume"}
# Nova decides these where we have nothing to decide.
ELSEWHERE = {
    "compute:servers:resize:cross_cell": "resizes stay in a cell, as its default has it",
    "network:attach_external_network": "the network service decides who may use its external networks",
}


class Stage:
    """What is asked about: servers of one's own and of others, in the states that the questions need."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.servers: dict[str, str] = {}
        self.request_id = ""

    async def set(self) -> None:
        self.servers["plain"] = await self.api.server()
        self.servers["stopped"], self.request_id = await stopped(self.api)
        self.servers["moving"], _, _ = await migrating(self.api)
        self.servers["moved"] = await self.api.server()
        await ended(self.api, self.servers["moved"])
        await self.api.flavor("0", disk=0)
        await self.api.flavor("cells")
        told = await self.api.post("/flavors/cells/os-extra_specs", {"extra_specs": {"hw:numa_nodes": "1"}}, "admin")
        assert told.status == 200, told
        self.servers["cells"] = await self.api.server(flavorRef="cells")


Ask = Callable[[Stage, str], Awaitable[bool]]


class Within(NamedTuple):
    """``row``: the policy that the caller needs to come so far. ``ask`` tells whether ``policy`` let the caller in."""

    policy: str
    row: str
    ask: Ask


def refused(policy: str, answer: Answer) -> bool:
    assert answer.status < 500, answer
    assert (answer.status == 403) == (answer.status >= 400 and answer.message == f"Policy doesn't allow {policy} to be performed."), answer
    return answer.status == 403


def getting(policy: str, row: str, path: str, version: str = "2.1") -> Within:
    """Refused, or answered."""

    async def ask(stage: Stage, caller: str) -> bool:
        return not refused(policy, await stage.api.get(path.format(**stage.servers), caller, version))

    return Within(policy, row, ask)


def creating(policy: str, version: str, **fields: Any) -> Within:
    async def ask(stage: Stage, caller: str) -> bool:
        server = {"name": "x", "imageRef": IMAGE, "flavorRef": NONE, "networks": "auto"} | fields
        if version < "2.37":
            server = {key: value for key, value in server.items() if value != "auto"}
        return not refused(policy, await stage.api.post("/servers", {"server": server}, caller, version))

    return Within(policy, COMPUTE + "servers:create", ask)


def acting(policy: str, row: str, version: str, action: str, value: dict[str, Any], server: str = "plain", **columns: Any) -> Within:
    """On a server that has these columns, and is idle."""

    async def ask(stage: Stage, caller: str) -> bool:
        await stage.api.settle(stage.servers[server], **({"state": "active", "locked_by": None} | columns))
        return not refused(policy, await stage.api.act(stage.servers[server], action, value, caller, version))

    return Within(policy, row, ask)


def showing(policy: str, row: str, path: str, version: str, sees: Callable[[Any], bool]) -> Within:
    """Answered, with or without what the policy is for."""

    async def ask(stage: Stage, caller: str) -> bool:
        answer = await stage.api.get(path.format(**stage.servers, request=stage.request_id), caller, version)
        assert answer.status == 200, answer
        return sees(answer.body)

    return Within(policy, row, ask)


async def zero_disk(stage: Stage, caller: str) -> bool:
    """Its refusal has words of its own."""
    server = {"name": "x", "imageRef": IMAGE, "flavorRef": "0", "networks": "none"}
    answer = await stage.api.post("/servers", {"server": server}, caller, "2.37")
    assert answer.status == 202 or answer.message == "Only volume-backed servers are allowed for flavors with zero disk.", answer
    return answer.status == 202


async def unknown_status(stage: Stage, caller: str) -> bool:
    """What those see who may know of no other status."""
    stage.api.hosts.up.clear()
    shown = (await stage.api.get(f"/servers/{stage.servers['plain']}", caller, "2.16")).body["server"]
    stage.api.hosts.up.add("host1")
    assert shown.get("host_status") in (None, "UNKNOWN")
    return "host_status" in shown


async def swap(stage: Stage, caller: str) -> bool:
    path = f"/servers/{stage.servers['plain']}/os-volume_attachments/x"
    return not refused(SWAP, await stage.api.put(path, {"volumeAttachment": {"volumeId": NONE}}, caller, "2.85"))


SWAP = COMPUTE + "os-volumes-attachments:swap"
SERVER, MOVES = "/servers/{plain}", f"/os-migrations?project_id={PROJECT}"
SHOW, HOST = COMPUTE + "servers:show", COMPUTE + "servers:show:host_status"
ACTION, ACTIONS = "/servers/{stopped}/os-instance-actions/{request}", COMPUTE + "os-instance-actions:show"
WITHIN = (
    getting(COMPUTE + "limits:other_project", COMPUTE + "limits", f"/limits?tenant_id={OTHER_PROJECT}"),
    getting(COMPUTE + "servers:index:get_all_tenants", COMPUTE + "servers:index", "/servers?all_tenants=1"),
    getting(COMPUTE + "servers:detail:get_all_tenants", COMPUTE + "servers:detail", "/servers/detail?all_tenants=1"),
    getting(COMPUTE + "os-migrations:index:all_projects", COMPUTE + "os-migrations:index", "/os-migrations", "2.80"),
    creating(COMPUTE + "servers:create:forced_host", "2.37", availability_zone="nova:host1"),
    creating("compute:servers:create:requested_destination", "2.74", host="host1"),
    creating(COMPUTE + "servers:create:trusted_certs", "2.63", **CERTIFICATES),
    creating(COMPUTE + "servers:create:attach_volume", "2.37", block_device_mapping_v2=[VOLUME]),
    creating(COMPUTE + "servers:create:attach_network", "2.1", networks=[{"uuid": NETWORK}]),
    Within(COMPUTE + "servers:create:zero_disk_flavor", COMPUTE + "servers:create", zero_disk),
    acting(COMPUTE + "servers:rebuild:trusted_certs", COMPUTE + "servers:rebuild", "2.63", "rebuild", {"imageRef": NONE} | CERTIFICATES),
    acting(COMPUTE + "os-lock-server:unlock:unlock_override", COMPUTE + "os-lock-server:unlock", "2.1", "unlock", {}, locked_by="admin"),
    acting(COMPUTE + "os-migrate-server:migrate:host", COMPUTE + "os-migrate-server:migrate", "2.56", "migrate", {"host": "nowhere"}),
    acting(
        *(COMPUTE + "os-migrate-server:migrate_live:host", COMPUTE + "os-migrate-server:migrate_live", "2.34", "os-migrateLive"),
        {"host": "nowhere", "block_migration": "auto"},
    ),
    acting(
        *(COMPUTE + "os-shelve:unshelve_to_host", COMPUTE + "os-shelve:unshelve", "2.91", "unshelve", {"host": "nowhere"}),
        state="shelved_offloaded",
    ),
    acting(
        *(COMPUTE + "servers:create_image:allow_volume_backed", COMPUTE + "servers:create_image", "2.1", "createImage", {"name": "x"}),
        block_devices=[{"kind": "volume", "boot_index": 0, "volume_id": NONE}],
    ),
    Within(SWAP, COMPUTE + "os-volumes-attachments:update", swap),
    showing(COMPUTE + "servers:allow_all_filters", COMPUTE + "servers:index", "/servers?host=nowhere", "2.1", lambda b: not b["servers"]),
    showing(COMPUTE + "os-extended-server-attributes", SHOW, SERVER, "2.1", lambda b: "OS-EXT-SRV-ATTR:host" in b["server"]),
    showing(SHOW + ":flavor-extra-specs", SHOW, SERVER, "2.47", lambda b: "extra_specs" in b["server"]["flavor"]),
    showing(HOST, SHOW, SERVER, "2.16", lambda b: "host_status" in b["server"]),
    Within(HOST + ":unknown-only", SHOW, unknown_status),
    showing(COMPUTE + "os-instance-actions:events", ACTIONS, ACTION, "2.1", lambda b: "events" in b["instanceAction"]),
    showing(ACTIONS[:-4] + "events:details", ACTIONS, ACTION, "2.84", lambda b: "details" in b["instanceAction"]["events"][0]),
    showing(
        *("compute:server:topology:host:index", "compute:server:topology:index", "/servers/{cells}/topology", "2.78"),
        lambda b: "host_node" in b["nodes"][0],
    ),
    showing(
        *(COMPUTE + "os-migrations:index:host", COMPUTE + "os-migrations:index", MOVES, "2.80"),
        lambda b: b["migrations"][0]["source_compute"] is not None,
    ),
    showing(
        *(COMPUTE + "servers:migrations:index:host", COMPUTE + "servers:migrations:index", "/servers/{moving}/migrations", "2.23"),
        lambda b: b["migrations"][0]["source_compute"] is not None,
    ),
)
