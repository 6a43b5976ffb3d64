"""What each microversion changed, as requests whose answers differ between the version before and that version.

``CASES`` has an entry for every version of the reference: cases, or the reason why there is nothing to ask. Paths and bodies may hold
``{words}`` that the scenes of ``sample_cases`` give: server, group, host, service, host_number, project, image.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from nova_async.bus.messages import Done
from tests.api.conftest import IMAGE, NETWORK, OTHER_PROJECT, PORTS, VOLUME, Answer, Api, volume
from tests.api.sample_cases import PORT, SERVER, Names, Scene, down, ground, key, processes
from tests.api.test_instance_actions import stopped
from tests.api.test_migrations import ended, migrating

Check = Callable[[Answer], str | None]
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDIi0oYBmSGDAyLNoDgBkAhL0uRbSpsMsqVbFHNJIVAJ"
UNKNOWN = "deadbeef-dead-4eef-8ead-beefdeadbeef"
GOOD, BAD, MISSING, CONFLICT = "2xx", 400, 404, 409


class Ask(NamedTuple):
    """``what``: method and path. The server in it is in ``state`` each time, with these ``columns``."""

    what: str
    body: Any = None
    caller: str = "admin"
    scenes: tuple[Scene, ...] = (ground, SERVER)
    state: str = "active"
    columns: dict[str, Any] = {}


class Case(NamedTuple):
    ask: Ask
    before: Check
    after: Check


# Checks


def status(wanted: int | str) -> Check:
    def check(answer: Answer) -> str | None:
        fits = answer.status < 300 if wanted == GOOD else answer.status == wanted
        return None if fits else f"{answer} instead of {wanted}"

    return check


def says(wanted: int, text: str) -> Check:
    def check(answer: Answer) -> str | None:
        return None if answer.status == wanted and text in answer.message else f"{answer} instead of {wanted} {text}"

    return check


def has(*paths: str) -> Check:
    def check(answer: Answer) -> str | None:
        return None if answer.status < 300 and all(_found(answer.body, path) for path in paths) else f"{answer} lacks one of {paths}"

    return check


def lacks(*paths: str) -> Check:
    def check(answer: Answer) -> str | None:
        return None if answer.status < 300 and not any(_found(answer.body, path) for path in paths) else f"{answer} has one of {paths}"

    return check


def value(path: str, wanted: Any) -> Check:
    def check(answer: Answer) -> str | None:
        found = _found(answer.body, path) if answer.status < 300 else []
        right = bool(found) and (isinstance(found[0], wanted) if isinstance(wanted, type) else found[0] == wanted)
        return None if right else f"{answer} has at {path} not {wanted}"

    return check


def empty(answer: Answer) -> str | None:
    return None if answer.status < 300 and not answer.raw else f"{answer} is not empty"


def count(name: str, wanted: int) -> Check:
    def check(answer: Answer) -> str | None:
        return None if answer.status < 300 and len(answer.body[name]) == wanted else f"{answer} has not {wanted} {name}"

    return check


def header(name: str, present: bool) -> Check:
    def check(answer: Answer) -> str | None:
        return None if answer.status < 300 and (name in answer.headers) == present else f"{name} in {dict(answer.headers)}: not {present}"

    return check


def _found(body: Any, path: str) -> list[Any]:
    """The value at ``a/0/b`` as a list of one; none when it is not there."""
    for part in path.split("/"):
        if isinstance(body, list) and part.isdigit() and int(part) < len(body):
            body = body[int(part)]
        elif isinstance(body, dict) and part in body:
            body = body[part]
        else:
            return []
    return [body]


# Kinds of change


def appears(ask: Ask, *paths: str) -> Case:
    return Case(ask, lacks(*paths), has(*paths))


def vanishes(ask: Ask, *paths: str) -> Case:
    return Case(ask, has(*paths), lacks(*paths))


def turns(ask: Ask, before: int | str, after: int | str) -> Case:
    return Case(ask, status(before), status(after))


def accepted(ask: Ask) -> Case:
    return turns(ask, BAD, GOOD)


def refused(ask: Ask) -> Case:
    return turns(ask, GOOD, BAD)


def comes(ask: Ask) -> Case:
    return turns(ask, MISSING, GOOD)


def goes(ask: Ask) -> Case:
    return turns(ask, GOOD, MISSING)


# Requests


def create(without: tuple[str, ...] = (), caller: str = "admin", **fields: Any) -> Ask:
    server = {"name": "new", "imageRef": IMAGE, "flavorRef": "1", "networks": [{"uuid": NETWORK}]} | fields
    return Ask("POST /servers", {"server": {name: part for name, part in server.items() if name not in without}}, caller)


def act(action: str, argument: Any = None, state: str = "active", caller: str = "admin", **columns: Any) -> Ask:
    return Ask("POST /servers/{server}/action", {action: argument}, caller, state=state, columns=columns)


def device(**fields: Any) -> list[dict[str, Any]]:
    return [{"boot_index": 0, "uuid": IMAGE, "source_type": "image", "destination_type": "local"} | fields]


def events(name: str, tag: str) -> Ask:
    return Ask("POST /os-server-external-events", {"events": [{"name": name, "server_uuid": "{server}", "tag": tag}]})


def action(caller: str = "admin") -> Ask:
    return Ask("GET /servers/{stopped}/os-instance-actions/{request}", None, caller, (ground, failed))


def attach() -> Ask:
    return Ask("POST /servers/{server}/os-volume_attachments", {"volumeAttachment": {"volumeId": VOLUME}})


# Scenes


async def failed(api: Api, names: Names) -> None:
    names["stopped"], names["request"] = await stopped(api)


async def gone(api: Api, names: Names) -> None:
    await failed(api, names)
    async with api.database.connection() as conn:
        await conn.execute("UPDATE instances SET deleted = true WHERE uuid = $1", names["stopped"])


async def on_its_way(api: Api, names: Names) -> None:
    names["moving"], number, _ = await migrating(api)
    names["move"] = str(number)


async def queued(api: Api, names: Names) -> None:
    names["moving"], number, _ = await migrating(api, "claim_destination")
    names["move"] = str(number)


async def moved(api: Api, names: Names) -> None:
    """Two moves that are over."""
    for _ in range(2):
        await ended(api, names["server"])


async def able(api: Api, names: Names) -> None:
    """The hosts do what no driver in these tests would."""

    async def call(target: str, message: Any, *, timeout: float) -> Any:
        return Done()

    api.bus.call = call  # type: ignore[method-assign]


async def attached(api: Api, names: Names) -> None:
    await SERVER(api, names)
    await api.settle(names["server"], ports=[PORT])


async def shared(api: Api, names: Names) -> None:
    api.volumes.shelf[VOLUME] = volume(VOLUME, multiattach=True)


async def free(api: Api, names: Names) -> None:
    """However often a volume is attached, it is there to be attached."""
    held = api.volumes.reserve

    async def reserve(*given: Any) -> str:
        attachment = await held(*given)
        api.volumes.shelf[VOLUME] = volume(VOLUME)
        return attachment

    api.volumes.reserve = reserve  # type: ignore[method-assign]


DEVICE = {"id": UNKNOWN, "volume_id": VOLUME, "attachment_id": UNKNOWN, "device": "/dev/vdb", "boot_index": None, "kind": "volume"}
HOLDING = {"block_devices": [DEVICE]}
BACKED = {"image_id": None, "block_devices": [DEVICE | {"boot_index": 0, "device": "/dev/vda"}]}
HELD = Ask(f"GET /servers/{{server}}/os-volume_attachments/{VOLUME}", columns=HOLDING)
HELD_ALL = HELD._replace(what="GET /servers/{server}/os-volume_attachments")
SHOW, DETAIL = Ask("GET /servers/{server}"), Ask("GET /servers/detail")
UPDATE = Ask("PUT /servers/{server}", {"server": {"name": "other"}})
REBUILD = act("rebuild", {"imageRef": IMAGE})
PLAIN_QUOTA, QUOTA_CLASS = Ask("GET /os-quota-sets/{project}"), Ask("GET /os-quota-class-sets/default")
LIMITS, FLAVOR, HYPERVISORS = Ask("GET /limits"), Ask("GET /flavors/1"), Ask("GET /os-hypervisors/detail")
SERVICE_IDS = (ground, processes)
MOVING = (ground, SERVER, on_its_way)
MOVES = Ask("GET /os-migrations", scenes=(ground, SERVER, moved))
ATTRIBUTES = ("hostname", "reservation_id", "launch_index", "kernel_id", "ramdisk_id", "root_device_name", "user_data")
IN_ALL_VIEWS = (SHOW, UPDATE, REBUILD)


def shown_everywhere(name: str, *asks: Ask) -> list[Case]:
    """In show, update and rebuild, and in detail."""
    return [*(appears(ask, f"server/{name}") for ask in asks or IN_ALL_VIEWS), appears(DETAIL, f"servers/0/{name}")]


CASES: dict[int, list[Case] | str] = {
    1: [
        Case(Ask("POST /servers", {"server": {"unknown": 1}}), status(BAD), says(BAD, "Additional properties are not allowed")),
    ],
    2: [
        appears(Ask("GET /os-keypairs", scenes=(ground, key)), "keypairs/0/keypair/type"),
        accepted(Ask("POST /os-keypairs", {"keypair": {"name": "typed", "type": "ssh", "public_key": KEY}})),
        turns(Ask("POST /os-keypairs", {"keypair": {"name": "{version}", "public_key": KEY}}), 200, 201),
        turns(Ask("DELETE /os-keypairs/new-key"), 202, MISSING),  # 204 where it is still there: test_keypairs
    ],
    3: [
        appears(SHOW, *(f"server/OS-EXT-SRV-ATTR:{name}" for name in ATTRIBUTES)),
        appears(SHOW, "server/os-extended-volumes:volumes_attached/0/delete_on_termination"),
        Case(SHOW._replace(caller="member"), lacks("server/OS-EXT-SRV-ATTR:hostname"), lacks("server/OS-EXT-SRV-ATTR:hostname")),
    ],
    4: [turns(Ask("GET /os-fixed-ips/10.0.0.5"), 410, 410)],  # gone for good
    5: [Case(Ask("GET /servers?ip6=fd00", caller="member"), count("servers", 1), count("servers", 0))],
    6: [
        comes(Ask("POST /servers/{server}/remote-consoles", {"remote_console": {"protocol": "vnc", "type": "novnc"}})),
        goes(act("os-getVNCConsole", {"type": "novnc"})),
        goes(act("os-getSPICEConsole", {"type": "spice-html5"})),
    ],
    7: [turns(Ask("POST /flavors/1/action", {"addTenantAccess": {"tenant": OTHER_PROJECT}}), GOOD, CONFLICT)],
    8: [
        Case(
            Ask("POST /servers/{server}/remote-consoles", {"remote_console": {"protocol": "mks", "type": "webmks"}}),
            says(BAD, "is not one of"),
            says(BAD, "Unavailable console type webmks"),
        )
    ],
    9: shown_everywhere("locked"),
    10: [
        Case(Ask("GET /os-keypairs?user_id=admin-user", caller="foreign_admin"), count("keypairs", 0), count("keypairs", 1)),
        accepted(Ask("POST /os-keypairs", {"keypair": {"name": "theirs", "public_key": KEY, "user_id": "member-user"}})),
    ],
    11: [
        appears(Ask("GET /os-services", scenes=SERVICE_IDS), "services/0/forced_down"),
        comes(Ask("PUT /os-services/force-down", {"host": "host1", "binary": "nova-compute", "forced_down": True})),
    ],
    12: [turns(Ask("GET /servers/{server}/os-virtual-interfaces"), 410, 410)],
    13: [appears(Ask("GET /os-server-groups/{group}"), "server_group/project_id", "server_group/user_id")],
    14: [
        Case(act("evacuate", {"onSharedStorage": False})._replace(scenes=(ground, SERVER, down)), has("adminPass"), status(BAD)),
        Case(act("evacuate", {})._replace(scenes=(ground, SERVER, down)), status(BAD), empty),
    ],
    15: [
        accepted(Ask("POST /os-server-groups", {"server_group": {"name": "soft", "policies": ["soft-affinity"]}})),
        accepted(Ask("POST /os-server-groups", {"server_group": {"name": "soft", "policies": ["soft-anti-affinity"]}})),
    ],
    16: [appears(SHOW, "server/host_status"), appears(DETAIL, "servers/0/host_status")],
    17: [comes(act("trigger_crash_dump"))],
    18: [
        Case(Ask("GET /servers"), status(GOOD), status(GOOD)),
        Case(Ask("GET /{project}/servers"), status(GOOD), status(GOOD)),
    ],
    19: [
        *shown_everywhere("description"),
        accepted(create(description="words")),
        accepted(Ask("PUT /servers/{server}", {"server": {"description": "words"}})),
        accepted(act("rebuild", {"imageRef": IMAGE, "description": "words"})),
    ],
    20: [turns(attach()._replace(state=state), CONFLICT, GOOD) for state in ("shelved", "shelved_offloaded")],
    21: [comes(Ask("GET /servers/{stopped}/os-instance-actions", scenes=(ground, gone)))],
    22: [comes(Ask("POST /servers/{moving}/migrations/{move}/action", {"force_complete": None}, scenes=(*MOVING, able)))],
    23: [
        comes(Ask("GET /servers/{moving}/migrations", scenes=MOVING)),
        comes(Ask("GET /servers/{moving}/migrations/{move}", scenes=MOVING)),
        appears(MOVES, "migrations/0/migration_type"),
        appears(Ask("GET /os-migrations", scenes=MOVING), "migrations/0/links"),
    ],
    24: [comes(Ask("DELETE /servers/{moving}/migrations/{move}", scenes=(*MOVING, able)))],
    25: [
        accepted(act("os-migrateLive", {"host": None, "block_migration": "auto"})),
        refused(act("os-migrateLive", {"host": None, "block_migration": False, "disk_over_commit": False})),
    ],
    26: [
        *shown_everywhere("tags"),
        comes(Ask("GET /servers/{server}/tags")),
        comes(Ask("PUT /servers/{server}/tags", {"tags": ["a"]})),
        comes(Ask("PUT /servers/{server}/tags/a")),
        comes(Ask("DELETE /servers/{server}/tags")),
        *(
            Case(Ask(f"GET /servers?{query}"), count("servers", 1), count("servers", found))
            for query, found in (("tags=x", 0), ("tags-any=tag1,x", 1), ("not-tags=tag1", 0), ("not-tags-any=tag1,x", 0))
        ),
    ],
    27: "either header is understood and answered at every version: test_both_headers_ask_for_a_version",
    28: [Case(HYPERVISORS, value("hypervisors/0/cpu_info", str), value("hypervisors/0/cpu_info", dict))],
    29: [accepted(act("evacuate", {"force": True, "host": "host2"})._replace(scenes=(ground, SERVER, down)))],
    30: [accepted(act("os-migrateLive", {"host": "testHost", "block_migration": "auto", "force": True}))],
    31: [turns(Ask("GET /os-console-auth-tokens/{server}"), BAD, MISSING)],
    32: [
        accepted(create(networks=[{"uuid": NETWORK, "tag": "nic"}])),
        accepted(create(block_device_mapping_v2=device(tag="disk"))),
    ],
    33: [
        appears(Ask("GET /os-hypervisors?limit=1"), "hypervisors_links"),
        refused(create(block_device_mapping_v2=device(tag="disk"))),
        Case(create(networks=[{"uuid": NETWORK, "tag": "nic"}]), status(GOOD), status(GOOD)),
    ],
    34: [
        turns(act("os-migrateLive", {"host": None, "block_migration": "auto"})._replace(scenes=(ground, SERVER, down)), BAD, GOOD),
    ],
    35: [appears(Ask("GET /os-keypairs?limit=1", scenes=(ground, key)), "keypairs_links")],
    36: [
        *(
            goes(Ask(f"GET {path}"))
            for path in (
                *("/images", "/images/detail", "/images/{image}", "/os-networks", "/os-tenant-networks", "/os-floating-ip-pools"),
                *("/os-floating-ips", "/os-security-groups"),
            )
        ),
        turns(Ask("GET /os-baremetal-nodes"), 501, MISSING),
        vanishes(PLAIN_QUOTA, *(f"quota_set/{name}" for name in ("fixed_ips", "floating_ips", "security_groups", "security_group_rules"))),
        vanishes(LIMITS, *(f"limits/absolute/{name}" for name in ("maxTotalFloatingIps", "maxSecurityGroups", "maxSecurityGroupRules"))),
        vanishes(LIMITS, "limits/absolute/totalFloatingIpsUsed", "limits/absolute/totalSecurityGroupsUsed"),
        refused(Ask("PUT /os-quota-sets/{project}", {"quota_set": {"floating_ips": 5}})),
    ],
    37: [
        refused(create(without=("networks",))),
        accepted(create(networks="auto")),
        accepted(create(networks="none")),
        Case(create(networks=[{"uuid": "no-uuid"}]), says(BAD, "no-uuid"), says(BAD, "is not valid under any of the given schemas")),
        refused(create(networks=[{"uuid": NETWORK, "tag": "nic"}])),
    ],
    38: [turns(Ask("GET /servers?status=nonsense", caller=caller), GOOD, BAD) for caller in ("member", "admin")],
    39: [
        goes(Ask("GET /images/{image}/metadata")),
        goes(Ask("GET /images/{image}/metadata/architecture")),
        vanishes(LIMITS, "limits/absolute/maxImageMeta"),
        turns(act("createImage", {"name": "x", "metadata": {str(n): "x" for n in range(129)}}), 403, GOOD),
    ],
    40: [appears(Ask("GET /os-simple-tenant-usage/{project}?limit=1&start=2020-01-01T00:00:00.0"), "tenant_usage_links")],
    41: [appears(Ask("POST /os-aggregates", {"aggregate": {"name": "{version}"}}), "aggregate/uuid")],
    42: [
        accepted(create(networks=[{"uuid": NETWORK, "tag": "nic"}])),
        accepted(create(block_device_mapping_v2=device(tag="disk"))),
    ],
    43: [
        goes(Ask("GET /os-hosts")),
        goes(Ask("GET /os-hosts/host1")),
        goes(Ask("PUT /os-hosts/host1", {"status": "disable"})),
        turns(Ask("GET /os-hosts/host1/reboot"), 501, MISSING),
    ],
    44: [
        Case(act(name, argument), says(there, words), status(MISSING))
        for name, argument, there, words in (
            ("addFloatingIp", {"address": "10.0.0.9"}, MISSING, "floating IP not found"),
            ("removeFloatingIp", {"address": "10.0.0.9"}, MISSING, "Floating IP not found"),
            ("addFixedIp", {"networkId": NETWORK}, MISSING, f"Network {NETWORK} is not associated"),
            ("removeFixedIp", {"address": "10.0.0.9"}, BAD, "Fixed IP not found"),
        )
    ],
    45: [
        Case(act("createImage", {"name": "x"}), empty, has("image_id")),
        Case(act("createImage", {"name": "x"}), header("Location", True), header("Location", False)),
        Case(act("createBackup", {"name": "x", "backup_type": "daily", "rotation": 1}), header("Location", True), has("image_id")),
    ],
    46: [Case(SHOW, header("X-OpenStack-Request-ID", True), header("X-OpenStack-Request-ID", True))],
    47: [
        *(
            Case(ask, has("server/flavor/id", "server/flavor/links"), has("server/flavor/vcpus", "server/flavor/original_name"))
            for ask in IN_ALL_VIEWS
        ),
        Case(SHOW, lacks("server/flavor/ram"), lacks("server/flavor/id")),
        appears(SHOW, "server/flavor/extra_specs"),
    ],
    48: [appears(Ask("GET /servers/{server}/diagnostics"), "state", "driver", "memory_details/maximum")],
    49: [
        Case(
            Ask("POST /servers/{server}/os-interface", {"interfaceAttachment": {"net_id": NETWORK, "tag": "nic"}}, state="building"),
            says(BAD, "Additional properties"),
            status(CONFLICT),
        ),
        turns(
            Ask("POST /servers/{server}/os-volume_attachments", {"volumeAttachment": {"volumeId": UNKNOWN, "tag": "disk"}}), BAD, MISSING
        ),
    ],
    50: [
        appears(QUOTA_CLASS, "quota_class_set/server_groups", "quota_class_set/server_group_members"),
        vanishes(QUOTA_CLASS, "quota_class_set/fixed_ips", "quota_class_set/floating_ips", "quota_class_set/security_groups"),
        refused(Ask("PUT /os-quota-class-sets/default", {"quota_class_set": {"fixed_ips": 5}})),
    ],
    51: [
        accepted(events("volume-extended", UNKNOWN)),
        appears(action("member"), "instanceAction/events"),
    ],
    52: [accepted(create(tags=["a", "b"]))],
    53: [
        Case(Ask("GET /os-services", scenes=SERVICE_IDS), value("services/0/id", int), value("services/0/id", str)),
        Case(Ask("GET /os-hypervisors"), value("hypervisors/0/id", int), value("hypervisors/0/id", str)),
        comes(Ask("PUT /os-services/{service}", {"status": "disabled"})),
        goes(Ask("PUT /os-services/disable", {"host": "host1", "binary": "nova-compute"})),
        goes(Ask("PUT /os-services/enable", {"host": "host1", "binary": "nova-compute"})),
        goes(Ask("GET /os-hypervisors/host1/search")),
        goes(Ask("GET /os-hypervisors/host1/servers")),
        Case(Ask("GET /os-hypervisors?hypervisor_hostname_pattern=west"), count("hypervisors", 7), count("hypervisors", 1)),
        Case(Ask("GET /os-hypervisors?with_servers=1"), lacks("hypervisors/0/servers"), has("hypervisors/0/servers")),
        turns(Ask("GET /os-hypervisors/{host_number}"), GOOD, BAD),
    ],
    54: [accepted(act("rebuild", {"imageRef": IMAGE, "key_name": "new-key"})), appears(REBUILD, "server/key_name")],
    55: [
        appears(FLAVOR, "flavor/description"),
        appears(Ask("GET /flavors"), "flavors/0/description"),
        accepted(Ask("POST /flavors", {"flavor": {"name": "n", "ram": 1, "vcpus": 1, "disk": 1, "description": "words"}})),
        comes(Ask("PUT /flavors/1", {"flavor": {"description": "words"}})),
    ],
    56: [Case(act("migrate", {"host": "nowhere"}), status(GOOD), says(BAD, "Compute host nowhere could not be found"))],
    57: [
        refused(create(personality=[{"path": "/x", "contents": "eA=="}])),
        refused(act("rebuild", {"imageRef": IMAGE, "personality": [{"path": "/x", "contents": "eA=="}]})),
        accepted(act("rebuild", {"imageRef": IMAGE, "user_data": "eA=="})),
        appears(REBUILD, "server/user_data"),
        vanishes(LIMITS, "limits/absolute/maxPersonality", "limits/absolute/maxPersonalitySize"),
        *(
            vanishes(PLAIN_QUOTA, f"quota_set/{name}")
            for name in ("injected_files", "injected_file_content_bytes", "injected_file_path_bytes")
        ),
        vanishes(QUOTA_CLASS, "quota_class_set/injected_files"),
        refused(Ask("PUT /os-quota-sets/{project}", {"quota_set": {"injected_files": 5}})),
    ],
    58: [
        appears(Ask("GET /servers/{stopped}/os-instance-actions", scenes=(ground, failed)), "instanceActions/0/updated_at"),
        appears(Ask("GET /servers/{stopped}/os-instance-actions?limit=1", scenes=(ground, failed)), "links"),
        turns(Ask("GET /servers/{stopped}/os-instance-actions?changes-since=rubbish", scenes=(ground, failed)), GOOD, BAD),
    ],
    59: [
        appears(MOVES, "migrations/0/uuid"),
        appears(MOVES._replace(what="GET /os-migrations?limit=1"), "migrations_links"),
        refused(MOVES._replace(what="GET /os-migrations?unknown=1")),
        Case(MOVES._replace(what="GET /os-migrations?changes-since=2100-01-01T00:00:00"), count("migrations", 2), count("migrations", 0)),
        appears(Ask("GET /servers/{moving}/migrations", scenes=MOVING), "migrations/0/uuid"),
    ],
    60: [accepted(attach()._replace(scenes=(ground, SERVER, shared)))],
    61: [appears(FLAVOR, "flavor/extra_specs"), appears(Ask("GET /flavors/detail"), "flavors/0/extra_specs")],
    62: [
        appears(action(), "instanceAction/events/0/host", "instanceAction/events/0/hostId"),
        appears(action("member"), "instanceAction/events/0/hostId"),
    ],
    63: [
        *shown_everywhere("trusted_image_certificates"),
        accepted(create(trusted_image_certificates=["a"])),
        accepted(act("rebuild", {"imageRef": IMAGE, "trusted_image_certificates": ["a"]})),
    ],
    64: [
        accepted(Ask("POST /os-server-groups", {"server_group": {"name": "g", "policy": "affinity"}})),
        accepted(
            Ask("POST /os-server-groups", {"server_group": {"name": "g", "policy": "anti-affinity", "rules": {"max_server_per_host": 2}}})
        ),
        refused(Ask("POST /os-server-groups", {"server_group": {"name": "g", "policies": ["affinity"]}})),
        appears(Ask("GET /os-server-groups/{group}"), "server_group/policy", "server_group/rules"),
        vanishes(Ask("GET /os-server-groups/{group}"), "server_group/policies", "server_group/metadata"),
    ],
    65: [turns(Ask("DELETE /servers/{moving}/migrations/{move}", scenes=(ground, SERVER, queued, able)), BAD, GOOD)],
    66: [
        Case(Ask("GET /servers?changes-before=2000-01-01T00:00:00"), count("servers", 1), count("servers", 0)),
        Case(MOVES._replace(what="GET /os-migrations?changes-before=2000-01-01T00:00:00"), status(BAD), count("migrations", 0)),
        Case(
            Ask("GET /servers/{stopped}/os-instance-actions?changes-before=2000-01-01T00:00:00", scenes=(ground, failed)),
            status(BAD),
            count("instanceActions", 0),
        ),
    ],
    67: [
        Case(
            create(block_device_mapping_v2=device(destination_type="volume", volume_type="fast", uuid=UNKNOWN, volume_size=1)),
            says(BAD, "Additional properties"),
            lambda answer: None if "Additional properties" not in answer.raw.decode() else f"{answer} still refuses volume_type",
        )
    ],
    68: [
        refused(act("evacuate", {"force": True, "host": "host2"})._replace(scenes=(ground, SERVER, down))),
        refused(act("os-migrateLive", {"host": "testHost", "block_migration": "auto", "force": True})),
    ],
    69: "there is one cell, and without it no answer",
    70: [
        appears(HELD, "volumeAttachment/tag"),
        appears(
            Ask("GET /servers/{server}/os-interface", scenes=(ground, attached), columns={"ports": [PORT]}), "interfaceAttachments/0/tag"
        ),
        appears(Ask(f"GET /servers/{{server}}/os-interface/{PORTS[0]['id']}"), "interfaceAttachment/tag"),
    ],
    71: [appears(ask, "server/server_groups") for ask in IN_ALL_VIEWS],
    72: "no network service here gives ports that ask for resources",
    73: [
        *shown_everywhere("locked_reason"),
        Case(act("lock", {"locked_reason": 5}), status(GOOD), says(BAD, "5 is not of type 'string'")),
        Case(Ask("GET /servers?locked=true"), count("servers", 1), count("servers", 0)),
    ],
    74: [accepted(create(host="host1")), accepted(create(hypervisor_hostname="host1"))],
    75: [
        appears(UPDATE, "server/OS-EXT-STS:vm_state", "server/config_drive", "server/OS-EXT-AZ:availability_zone"),
        appears(REBUILD, "server/OS-EXT-STS:vm_state", "server/config_drive", "server/OS-EXT-AZ:availability_zone"),
        refused(Ask("GET /servers?unknown=1")),
        refused(Ask("GET /flavors?unknown=1")),
        refused(Ask("GET /limits?unknown=1")),
        Case(FLAVOR, value("flavor/swap", ""), value("flavor/swap", 0)),
        Case(Ask("GET /os-hypervisors?with_servers=1"), lacks("hypervisors/3/servers"), has("hypervisors/3/servers")),
    ],
    76: [accepted(events("power-update", "SIDEWAYS"))],
    77: [
        Case(
            act("unshelve", {"availability_zone": "nowhere"}, state="shelved_offloaded"),
            status(GOOD),
            says(BAD, "The requested availability zone is not available"),
        ),
        turns(act("unshelve", {"availability_zone": 5}, state="shelved_offloaded"), GOOD, BAD),
    ],
    78: [comes(Ask("GET /servers/{server}/topology"))],
    79: [
        appears(HELD, "volumeAttachment/delete_on_termination"),
        turns(
            Ask("POST /servers/{server}/os-volume_attachments", {"volumeAttachment": {"volumeId": UNKNOWN, "delete_on_termination": True}}),
            BAD,
            MISSING,
        ),
    ],
    80: [
        appears(MOVES, "migrations/0/user_id", "migrations/0/project_id"),
        appears(Ask("GET /servers/{moving}/migrations", scenes=MOVING), "migrations/0/user_id"),
        Case(MOVES._replace(what="GET /os-migrations?user_id=nobody"), status(BAD), count("migrations", 0)),
    ],
    81: [comes(Ask("POST /os-aggregates/{aggregate}/images", {"cache": [{"id": IMAGE}]}))],
    82: [accepted(events("accelerator-request-bound", UNKNOWN))],
    83: [
        Case(Ask(f"GET /servers?{query}", caller="member"), count("servers", 1), count("servers", 0))
        for query in (
            *("availability_zone=x", "config_drive=true", "key_name=x", "created_at=2000", "launched_at=2000", "terminated_at=2000"),
            *("power_state=4", "task_state=spawning", "vm_state=stopped", "progress=99", "user_id=x"),
        )
    ],
    84: [appears(action(), "instanceAction/events/0/details")],
    85: [
        accepted(
            Ask(
                f"PUT /servers/{{server}}/os-volume_attachments/{VOLUME}",
                {"volumeAttachment": {"volumeId": VOLUME, "delete_on_termination": True}},
                columns=HOLDING,
            )
        )
    ],
    86: [
        turns(Ask("POST /flavors/1/os-extra_specs", {"extra_specs": {"hw:nonsense": "1"}}), GOOD, BAD),
        turns(Ask("POST /flavors/1/os-extra_specs", {"extra_specs": {"hw:numa_nodes": "many"}}), GOOD, BAD),
        turns(Ask("PUT /flavors/1/os-extra_specs/hw:numa_nodes", {"hw:numa_nodes": "many"}), GOOD, BAD),
    ],
    87: [
        Case(act("rescue", {"rescue_image_ref": IMAGE}, **BACKED), says(BAD, "Cannot rescue a volume-backed instance"), status(GOOD)),
    ],
    88: [
        vanishes(HYPERVISORS, *(f"hypervisors/0/{name}" for name in ("cpu_info", "vcpus", "memory_mb_used", "running_vms", "local_gb"))),
        appears(HYPERVISORS, "hypervisors/0/uptime"),
        goes(Ask("GET /os-hypervisors/statistics")),
        goes(Ask("GET /os-hypervisors/{host}/uptime")),
    ],
    89: [
        vanishes(HELD, "volumeAttachment/id"),
        appears(HELD, "volumeAttachment/attachment_id", "volumeAttachment/bdm_uuid"),
        vanishes(HELD_ALL, "volumeAttachments/0/id"),
        appears(HELD_ALL, "volumeAttachments/0/attachment_id", "volumeAttachments/0/bdm_uuid"),
    ],
    90: [
        accepted(create(hostname="web-1")),
        accepted(Ask("PUT /servers/{server}", {"server": {"hostname": "web-1"}})),
        accepted(act("rebuild", {"imageRef": IMAGE, "hostname": "web-1"})),
        appears(SHOW._replace(caller="member"), "server/OS-EXT-SRV-ATTR:hostname"),
    ],
    91: [
        accepted(act("unshelve", {"host": "host2"}, state="shelved_offloaded")),
        accepted(act("unshelve", {"availability_zone": None}, state="shelved_offloaded")),
    ],
    92: [
        refused(Ask("POST /os-keypairs", {"keypair": {"name": "made here"}})),
        accepted(Ask("POST /os-keypairs", {"keypair": {"name": "user@example.org", "public_key": KEY}})),
    ],
    93: [
        accepted(act("rebuild", {"imageRef": IMAGE}, **BACKED)),
        accepted(events("volume-reimaged", UNKNOWN)),
    ],
    94: [
        accepted(create(hostname="web-1.example.org")),
        accepted(Ask("PUT /servers/{server}", {"server": {"hostname": "web-1.example.org"}})),
        accepted(act("rebuild", {"imageRef": IMAGE, "hostname": "web-1.example.org"})),
    ],
    95: "what becomes of the server at its destination is a workflow's: test_an_evacuated_server_stays_off_since_its_version",
    96: shown_everywhere("pinned_availability_zone"),
    97: [comes(Ask("GET /servers/{server}/shares"))],
    98: [appears(ask, "server/image/properties") for ask in IN_ALL_VIEWS],
    99: [
        Case(
            Ask("POST /servers/{server}/remote-consoles", {"remote_console": {"protocol": "spice", "type": "spice-direct"}}),
            says(BAD, "is not one of"),
            lambda answer: None if b"is not one of" not in answer.raw else f"{answer} does not know spice-direct",
        ),
        turns(Ask("GET /os-console-auth-tokens/{server}?unknown=1"), MISSING, BAD),
    ],
    100: shown_everywhere("scheduler_hints"),
    101: [Case(attach()._replace(columns={"block_devices": []}, scenes=(ground, SERVER, free)), has("volumeAttachment/volumeId"), empty)],
    102: [
        Case(Ask("GET /flavors?name=m1.1"), status(BAD), count("flavors", 1)),
        refused(Ask("GET /os-aggregates?unknown=1")),
        refused(Ask("GET /servers/{server}/tags?unknown=1")),
        vanishes(FLAVOR, "flavor/rxtx_factor", "flavor/OS-FLV-DISABLED:disabled"),
        refused(Ask("POST /flavors", {"flavor": {"name": "{version}", "ram": 1, "vcpus": 1, "disk": 1, "rxtx_factor": 2.0}})),
    ],
    103: [goes(Ask("GET /os-volumes_boot")), goes(Ask("GET /os-volumes_boot/{server}"))],
    104: [
        accepted(Ask("PUT /servers/{server}", {"server": {"pinned_availability_zone": None}})),
        turns(Ask("PUT /servers/{server}", {"server": {"pinned_availability_zone": "elsewhere"}}), BAD, CONFLICT),
    ],
}
