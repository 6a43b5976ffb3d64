"""Which request each of Nova's API samples belongs to, and what has to be there before it is sent.

A sample's name is its folder and file, without the version and without ``-req`` and ``-resp``: both are of one request.
"""

from typing import Any

from nova_async.api.versions import V
from nova_async.sealed import SealingKey
from tests.api.conftest import IMAGE, NETWORK, PORTS, PROJECT, Api
from tests.api.sample_case import Case, Names, Scene
from tests.api.sample_moves import CASES as OF_MOVES
from tests.api.test_instance_actions import stopped
from tests.api.test_keypairs import imported

HOSTS = {
    "host1": "nova", "host2": "nova", "testHost": "nova", "openstack-node-01": "nova", "west": "us-west",
    "b419863b7d814906a68fb31703c0dbd6": "nova", "01c0cadef72d47e28a672a76060d492c": "nova",
}  # fmt: skip
HOST, SERVICE = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
FACTS = {
    "hypervisor_hostname": "host1", "hypervisor_type": "fake", "hypervisor_version": 1000, "uptime": "up 93 days",
    "cpu_info": {
        "arch": "x86_64", "model": "Nehalem", "vendor": "Intel", "features": ["pge", "clflush"],
        "topology": {"cores": 1, "threads": 1, "sockets": 4},
    },
}  # fmt: skip
VOLUMES = [{"volume_id": "volume_id1", "delete_on_termination": False}, {"volume_id": "volume_id2", "delete_on_termination": True}]

# Scenes


async def ground(api: Api, names: Names) -> None:
    """Flavors, hosts and a key pair; before everything."""
    async with api.database.transaction() as conn:
        for number, flavorid in enumerate(("1", "2", "6"), 1):
            await conn.execute(
                "INSERT INTO flavors (flavorid, name, memory_mb, vcpus, root_gb, extra_specs) VALUES ($1, $2, $3, $4, 20, $5)",
                *(flavorid, f"m1.{flavorid}", 512 * number, number, {"hw:numa_nodes": "1"}),
            )
        for name, zone in HOSTS.items():
            ids = (HOST, SERVICE) if name == "host1" else (api.parts.world.uuid(), api.parts.world.uuid())
            facts = FACTS | {"hypervisor_hostname": name, "sealing_key": SealingKey().public}
            await conn.execute(
                "INSERT INTO hosts (id, name, service_id, availability_zone, own_zone, address, facts) VALUES ($1, $2, $3, $4, $4, $5, $6)",
                *(ids[0], name, ids[1], zone, "192.168.1.135", facts),
            )
        await conn.execute(
            "INSERT INTO keypairs (user_id, name, type, public_key, fingerprint) VALUES ('admin-user', 'new-key', 'ssh', 'ssh-rsa A', 'f')"
        )
        names["host_number"] = str(await conn.fetchval("SELECT number FROM hosts WHERE name = 'host1'"))
    api.hosts.up |= set(HOSTS)
    names |= {"project": PROJECT, "host": HOST, "service": SERVICE, "image": IMAGE}


def server(state: str = "active", **columns: Any) -> Scene:
    async def scene(api: Api, names: Names) -> None:
        names["server"] = await api.server("admin", state=None, metadata={"MyServerName": "Apache1"}, accessIPv4="1.2.3.4")
        properties = {"architecture": "x86_64", "auto_disk_config": "True", "hw_qemu_guest_agent": "yes"}
        rest = {
            "image_properties": properties,
            "block_devices": VOLUMES,
            "security_groups": ["default"],
            "access_ip_v6": "80fe::",
            "tags": ["tag1"],
        }
        await api.settle(names["server"], state, **{**rest, **columns})
        await group(api, names)
        async with api.database.connection() as conn:
            await conn.execute("INSERT INTO server_group_members (instance_id, group_id) VALUES ($1, $2)", names["server"], names["group"])

    return scene


SERVER = server()
BARE = server(block_devices=[])


async def down(api: Api, names: Names) -> None:
    """The server's host is silent."""
    api.hosts.up.clear()


async def actions(api: Api, names: Names) -> None:
    names["server"], names["request"] = await stopped(api)


async def key(api: Api, names: Names) -> None:
    answer = await imported(api, caller="admin")
    assert answer.status == 201, answer


async def tags(api: Api, names: Names) -> None:
    answer = await api.put(f"/servers/{names['server']}/tags", {"tags": ["tag1", "tag2"]}, version="2.26")
    assert answer.status == 200, answer


async def group(api: Api, names: Names) -> None:
    answer = await api.post("/os-server-groups", {"server_group": {"name": "test", "policy": "affinity"}}, "admin", "2.64")
    assert answer.status == 200, answer
    names["group"] = answer.body["server_group"]["id"]


async def guests(api: Api, names: Names) -> None:
    """Two servers on host1, one of them in error."""
    await BARE(api, names)
    await server("error")(api, names)


async def processes(api: Api, names: Names) -> None:
    async with api.database.connection() as conn:
        await conn.execute(
            "INSERT INTO processes (id, binary_name, host) VALUES (gen_random_uuid(), 'nova-scheduler', 'host1')",
        )


async def attaching(api: Api, names: Names) -> None:
    """Whatever interface is asked for is there soon."""
    begin = api.starter.begin

    async def begin_and_finish(*given: Any, **options: Any) -> str:
        workflow_id = await begin(*given, **options)
        conn, server_id = given[0], names["server"]
        await conn.execute("UPDATE workflows SET state = 'done', results = $2 WHERE id = $1", workflow_id, {"bind_port": {"port": PORT}})
        assert server_id
        return workflow_id

    api.starter.begin = begin_and_finish  # type: ignore[method-assign]


PORT = {**PORTS[0], "tag": "public"}
TAGGED = server(ports=[PORT])


def act(*scenes: Scene, body: str = "") -> Case:
    return Case("POST", "/servers/{server}/action", scenes or (SERVER,), body=body)


# Every sample that a route of ours answers

CREATE = Case("POST", "/servers")
SHOW = Case("GET", "/servers/{server}", (SERVER,), None)
UPDATE = Case("PUT", "/servers/{server}", (SERVER,), None)
DETAIL = Case("GET", "/servers/detail", (SERVER,), None)
ACTIONS = Case("GET", "/servers/{server}/os-instance-actions", (actions,))
ACTION = Case("GET", "/servers/{server}/os-instance-actions/{request}", (actions,))
CHANGE_SERVICE = {
    name: {V.BASE: f"/os-services/{name}", V.SERVICE_UUIDS: "/os-services/{service}"}
    for name in ("enable", "disable", "disable-log-reason", "force-down")
}
HYPERVISOR = {V.BASE: "/os-hypervisors/{host_number}", V.SERVICE_UUIDS: "/os-hypervisors/{host}"}
QUOTA = "/os-quota-sets/{project}"

CASES: dict[str, Case] = {
    "versions/v2-version-get": Case("GET", "/../v2"),
    "versions/v21-version-get": Case("GET", "/"),
    "versions/versions-get": Case("GET", "/../"),
    "extension-info/extensions-get": Case("GET", "/extensions/os-agents"),
    "extension-info/extensions-list": Case("GET", "/extensions"),
    "extension-info/extensions-list-v21-compatible": Case("GET", "/extensions"),
    "flavors/flavor-get": Case("GET", "/flavors/1"),
    "flavors/flavors-detail": Case("GET", "/flavors/detail"),
    "flavors/flavors-list": Case("GET", "/flavors"),
    "flavor-manage/flavor-create-post": Case("POST", "/flavors"),
    "flavor-manage/flavor-update": Case("PUT", "/flavors/1"),
    "flavor-extra-specs/flavor-extra-specs-create": Case("POST", "/flavors/1/os-extra_specs"),
    "flavor-extra-specs/flavor-extra-specs-get": Case("GET", "/flavors/1/os-extra_specs/hw:numa_nodes"),
    "flavor-extra-specs/flavor-extra-specs-list": Case("GET", "/flavors/1/os-extra_specs"),
    "flavor-extra-specs/flavor-extra-specs-update": Case("PUT", "/flavors/1/os-extra_specs/hw:numa_nodes"),
    "os-admin-password/admin-password-change-password": act(),
    "os-attach-interfaces/attach-interfaces-create": Case("POST", "/servers/{server}/os-interface", (SERVER, attaching)),
    "os-attach-interfaces/attach-interfaces-create-net_id": Case("POST", "/servers/{server}/os-interface", (SERVER, attaching)),
    "os-attach-interfaces/attach-interfaces-list": Case("GET", "/servers/{server}/os-interface", (TAGGED,)),
    "os-attach-interfaces/attach-interfaces-show": Case("GET", "/servers/{server}/os-interface/" + PORTS[0]["id"], (TAGGED,)),
    "os-deferred-delete/force-delete-post": act(),
    "os-deferred-delete/restore-post": act(server("soft-delete")),
    "os-evacuate/server-evacuate-find-host": act(SERVER, down),
    "os-evacuate/server-evacuate": act(SERVER, down),
    "os-hypervisors/hypervisors-detail": Case("GET", "/os-hypervisors/detail", (BARE,)),
    "os-hypervisors/hypervisors-detail-with-servers": Case(
        "GET", "/os-hypervisors/detail?with_servers=1&hypervisor_hostname_pattern=host1", (BARE,)
    ),
    "os-hypervisors/hypervisors-list": Case("GET", "/os-hypervisors"),
    "os-hypervisors/hypervisors-search": Case(
        "GET", {V.BASE: "/os-hypervisors/host1/search", V.SERVICE_UUIDS: "/os-hypervisors?hypervisor_hostname_pattern=host1"}
    ),
    "os-hypervisors/hypervisors-show": Case("GET", HYPERVISOR),
    "os-hypervisors/hypervisors-show-with-servers": Case(
        "GET", HYPERVISOR | {V.SERVICE_UUIDS: "/os-hypervisors/{host}?with_servers=1"}, (BARE,)
    ),
    "os-hypervisors/hypervisors-statistics": Case("GET", "/os-hypervisors/statistics"),
    "os-hypervisors/hypervisors-uptime": Case("GET", {version: f"{path}/uptime" for version, path in HYPERVISOR.items()}),
    "os-hypervisors/hypervisors-with-servers": Case(
        "GET",
        {
            V.BASE: "/os-hypervisors/host1/servers",
            V.SERVICE_UUIDS: "/os-hypervisors?with_servers=1&hypervisor_hostname_pattern=host1",
        },
        (guests,),
    ),
    "os-hypervisors/hypervisors-without-servers": Case(
        "GET",
        {
            V.BASE: "/os-hypervisors/host2/servers",
            V.SERVICE_UUIDS: "/os-hypervisors?with_servers=1&hypervisor_hostname_pattern=host2",
        },
    ),
    "os-instance-actions/instance-action-get": ACTION,
    "os-instance-actions/instance-action-get-non-admin": ACTION._replace(caller="member"),
    "os-instance-actions/instance-actions-list": ACTIONS,
    "os-instance-actions/instance-actions-list-with-changes-before": ACTIONS._replace(path=f"{ACTIONS.path}?changes-before=2100-01-01"),
    "os-instance-actions/instance-actions-list-with-changes-since": ACTIONS._replace(path=f"{ACTIONS.path}?changes-since=2020-01-01"),
    "os-instance-actions/instance-actions-list-with-limit": ACTIONS,
    "os-instance-actions/instance-actions-list-with-marker": ACTIONS._replace(path=f"{ACTIONS.path}?marker={{request}}"),
    "os-keypairs/keypairs-get": Case("GET", "/os-keypairs/mine", (key,)),
    "os-keypairs/keypairs-import-post": Case("POST", "/os-keypairs"),
    "os-keypairs/keypairs-list": Case("GET", "/os-keypairs", (key,)),
    "os-keypairs/keypairs-list-user1": Case("GET", "/os-keypairs?user_id=admin-user", (key,)),
    "os-keypairs/keypairs-list-user2": Case("GET", "/os-keypairs?user_id=admin-user", (key,)),
    "os-keypairs/keypairs-post": Case("POST", "/os-keypairs"),
    "os-migrate-server/live-migrate-server": act(),
    "os-migrate-server/migrate-server": act(server(host="testHost")),
    "os-migrate-server/migrate-server-null": act(),
    "os-multiple-create/multiple-create-no-resv-post": CREATE,
    "os-multiple-create/multiple-create-post": CREATE,
    "os-pause-server/pause-server": act(),
    "os-pause-server/unpause-server": act(server("paused")),
    "os-preserve-ephemeral-rebuild/server-action-rebuild-preserve-ephemeral": act(),
    "os-quota-sets/quotas-show-defaults-get": Case("GET", f"{QUOTA}/defaults"),
    "os-quota-sets/quotas-show-detail-get": Case("GET", f"{QUOTA}/detail"),
    "os-quota-sets/quotas-show-get": Case("GET", QUOTA),
    "os-quota-sets/quotas-update-force-post": Case("PUT", QUOTA),
    "os-quota-sets/quotas-update-post": Case("PUT", QUOTA),
    "os-quota-sets/user-quotas-show-get": Case("GET", f"{QUOTA}?user_id=member-user"),
    "os-quota-sets/user-quotas-update-post": Case("PUT", f"{QUOTA}?user_id=member-user"),
    "os-server-diagnostics/server-diagnostics-get": Case("GET", "/servers/{server}/diagnostics", (server(config_drive=True),)),
    "os-server-tags/server-tags-index": Case("GET", "/servers/{server}/tags", (SERVER, tags)),
    "os-server-tags/server-tags-put-all": Case("PUT", "/servers/{server}/tags", (SERVER,)),
    "os-server-tags/server-tags-show-details": SHOW._replace(scenes=(SERVER, tags)),
    "os-server-tags/servers-tags-details": DETAIL._replace(scenes=(SERVER, tags)),
    "os-services/service-disable-log-put": Case("PUT", CHANGE_SERVICE["disable-log-reason"]),
    "os-services/service-disable-put": Case("PUT", CHANGE_SERVICE["disable"]),
    "os-services/service-enable-put": Case("PUT", CHANGE_SERVICE["enable"]),
    "os-services/service-force-down-put": Case("PUT", CHANGE_SERVICE["force-down"]),
    "os-services/services-list-get": Case("GET", "/os-services", (processes,)),
    "server-ips/server-ips": Case("GET", "/servers/{server}/ips", (SERVER,)),
    "server-ips/server-ips-network": Case("GET", "/servers/{server}/ips/private", (SERVER,)),
    "server-metadata/server-metadata": Case("PUT", "/servers/{server}/metadata/foo", (SERVER,)),
    "server-metadata/server-metadata-all": Case("PUT", "/servers/{server}/metadata", (SERVER,)),
    "server-migrations/live-migrate-server": act(),
    "servers-sort/server-sort-keys-list": Case("GET", "/servers?sort_key=display_name&sort_dir=asc", (SERVER,)),
    "servers/lock-server-with-reason": act(),
    "servers/server-action-confirm-resize": act(server("resized")),
    "servers/server-action-create-image": act(),
    "servers/server-action-reboot": act(),
    "servers/server-action-rebuild": act()._replace(caller=None),
    "servers/server-action-resize": act(),
    "servers/server-action-revert-resize": act(server("resized")),
    "servers/server-action-start": act(server("stopped")),
    "servers/server-action-stop": act(),
    "servers/server-action-trigger-crash-dump": act(),
    "servers/server-create": CREATE._replace(scenes=(group,)),
    "servers/server-create-with-host-and-node": CREATE,
    "servers/server-create-with-only-host": CREATE,
    "servers/server-create-with-only-node": CREATE,
    "servers/server-get": SHOW,
    "servers/server-groups-post": Case("POST", "/os-server-groups"),
    "servers/server-put": UPDATE,
    "servers/server-update": UPDATE,
    "servers/servers-details": DETAIL,
    "servers/servers-details-with-changes-before": DETAIL._replace(path="/servers/detail?changes-before=2100-01-01"),
    "servers/servers-list": Case("GET", "/servers", (SERVER,)),
    "servers/servers-list-status": Case("GET", "/servers?status=error", (guests,)),
    "servers/servers-list-with-changes-before": Case("GET", "/servers?changes-before=2100-01-01", (SERVER,)),
    **OF_MOVES,
}

# Words in samples that mean something which is there
MEANT = {
    "3cb9bc59-5699-4588-a4b1-b87f96708bc6": NETWORK,
    "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}": IMAGE,
    "%(availability_zone)s": "us-west",
    "e1882e38-38c2-4239-ade7-35d644cb963a": NETWORK,
    "test-event": "network-changed",
}

# Samples that are of no route

REMOVED = "the routes answer 410 in every version"
FOLDERS_REMOVED = (
    "os-agents", "os-cells", "os-floating-ip-dns", "os-floating-ips-bulk", "os-fping",
    "os-security-group-default-rules", "os-virtual-interfaces",
)  # fmt: skip
SILENT_CELL = "what is shown of a cell that does not answer; there is one cell here"
COMING: dict[str, str] = dict.fromkeys(("os-assisted-volume-snapshots", "os-snapshots", "os-volumes"), "the route is not there yet")
# Files, where the version matters
NOT_ANSWERED: dict[str, str] = {
    **dict.fromkeys(
        ("servers/v2.69/server-get-resp.json", "servers/v2.69/servers-details-resp.json", "servers/v2.69/servers-list-resp.json",
         "servers/v2.71/server-get-down-cell-resp.json", "os-services/v2.69/services-list-get-resp.json"),
        SILENT_CELL,
    ),
    **dict.fromkeys(
        (f"servers/v2.{minor}/server-create-{kind}.json" for minor in (32, 42, 67) for kind in ("req", "resp")), "boots from a volume"
    ),
    "os-keypairs/v2.92/keypairs-post-req.json": "shows what is refused since 2.92: a pair without a public key",
    **dict.fromkeys(
        (f"os-remote-consoles/{file}.json" for file in (
            "get-rdp-console-post-req", "get-rdp-console-post-resp", "v2.6/create-rdp-console-req",
            "v2.8/create-mks-console-req", "v2.8/create-mks-console-resp",
        )),
        "no hypervisor here has such consoles",
    ),
    "os-networks/network-add-req.json": REMOVED,
    "os-networks/network-create-req.json": REMOVED,
    "os-networks/network-create-resp.json": REMOVED,
}  # fmt: skip
