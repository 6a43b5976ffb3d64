"""Bodies of the actions on a server."""

from typing import Any

from nova_async.api.schema import Literal, Query, Schema, first, since, until
from nova_async.api.schemas import BOOLEAN, DESCRIPTION, METADATA, NAME, NOT_NEGATIVE, TEXT, UUID, body
from nova_async.api.schemas.servers import DISK_CONFIG, FQDN, HOST, HOSTNAME, IP, IPV4, IPV6, TRUSTED_CERTIFICATES, USER_DATA
from nova_async.api.versions import V


def bare(action: str) -> Schema:
    """``{action: anything}``, as Nova takes it where the value means nothing."""
    return Schema(body(action, {}))


REBOOT = Schema(
    body(
        "reboot",
        {
            "type": "object",
            "properties": {"type": {"type": "string", "enum": ["HARD", "Hard", "hard", "SOFT", "Soft", "soft"]}},
            "required": ["type"],
            "additionalProperties": False,
        },
    )
)
LOCK = Schema(
    body(
        "lock",
        first(
            until(V.LOCKED_REASON - 1, {}),
            since(
                V.LOCKED_REASON,
                {
                    "type": ["object", "null"],
                    "properties": {"locked_reason": {"type": "string", "minLength": 1, "maxLength": 255}},
                    "additionalProperties": False,
                },
            ),
        ),
    )
)
RESET_STATE = Schema(
    body(
        "os-resetState",
        {
            "type": "object",
            "properties": {"state": {"type": "string", "enum": ["active", "error"]}},
            "required": ["state"],
            "additionalProperties": False,
        },
    )
)
CONSOLE_OUTPUT = Schema(
    body(
        "os-getConsoleOutput",
        {
            "type": "object",
            "properties": {
                "length": {
                    "type": ["integer", "string", "null"],
                    "pattern": "^-?[0-9]+$",
                    "minimum": -1,
                    "maximum": 2**31 - 1,
                    "format": f"integer:-1:{2**31 - 1}",
                }
            },
            "additionalProperties": False,
        },
    )
)


def _fields(properties: Literal, *required: Any) -> Literal:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


def _or_null(inner: Literal) -> Literal:
    return {"oneOf": [{"type": "null"}, inner]}


MAYBE_HOST: Literal = {**HOST, "type": ["string", "null"]}
REBUILD = Schema(
    body(
        "rebuild",
        _fields(
            {
                "name": NAME,
                "imageRef": UUID,
                "adminPass": TEXT,
                "metadata": METADATA,
                "preserve_ephemeral": BOOLEAN,
                "OS-DCF:diskConfig": DISK_CONFIG,
                "accessIPv4": IPV4,
                "accessIPv6": IPV6,
                "personality": until(
                    V.NO_PERSONALITY - 1,
                    {"type": "array", "items": _fields({"path": TEXT, "contents": {"type": "string", "format": "base64"}})},
                ),
                "description": since(V.DESCRIPTION, DESCRIPTION),
                "key_name": since(V.REBUILD_KEY, _or_null(NAME)),
                "user_data": since(V.NO_PERSONALITY, _or_null(USER_DATA)),
                "trusted_image_certificates": since(V.TRUSTED_CERTIFICATES, TRUSTED_CERTIFICATES),
                "hostname": first(since(V.HOSTNAME, HOSTNAME, until=V.FQDN_HOSTNAME - 1), since(V.FQDN_HOSTNAME, FQDN)),
            },
            "imageRef",
        ),
    )
)
RESIZE = Schema(
    body(
        "resize",
        _fields(
            {"flavorRef": {"type": ["string", "integer"], "minLength": 1, "maxLength": 255}, "OS-DCF:diskConfig": DISK_CONFIG}, "flavorRef"
        ),
    )
)
MIGRATE = Schema(body("migrate", first(until(V.MIGRATE_HOST - 1, {}), since(V.MIGRATE_HOST, _or_null(_fields({"host": MAYBE_HOST}))))))
MIGRATE_LIVE = Schema(
    body(
        "os-migrateLive",
        _fields(
            {
                "host": MAYBE_HOST,
                "block_migration": first(
                    until(V.BLOCK_MIGRATION_AUTO - 1, BOOLEAN),
                    since(V.BLOCK_MIGRATION_AUTO, {"anyOf": [BOOLEAN, {"type": "string", "enum": ["auto"]}]}),
                ),
                "disk_over_commit": until(V.BLOCK_MIGRATION_AUTO - 1, BOOLEAN),
                "force": since(V.LIVE_MIGRATE_CHECKED, BOOLEAN, until=V.NO_FORCE - 1),
            },
            "host",
            "block_migration",
            until(V.BLOCK_MIGRATION_AUTO - 1, "disk_over_commit"),
        ),
    )
)
EVACUATE = Schema(
    body(
        "evacuate",
        _fields(
            {
                "host": HOST,
                "adminPass": TEXT,
                "onSharedStorage": until(V.EVACUATE_WITHOUT_SHARED_STORAGE - 1, BOOLEAN),
                "force": since(V.EVACUATE_CHECKED, BOOLEAN, until=V.NO_FORCE - 1),
            },
            until(V.EVACUATE_WITHOUT_SHARED_STORAGE - 1, "onSharedStorage"),
        ),
    )
)
CREATE_IMAGE = Schema(body("createImage", _fields({"name": NAME, "metadata": METADATA}, "name")))
CREATE_BACKUP = Schema(
    body(
        "createBackup",
        _fields({"name": NAME, "backup_type": TEXT, "rotation": NOT_NEGATIVE, "metadata": METADATA}, "name", "backup_type", "rotation"),
    )
)
RESCUE = Schema(body("rescue", _or_null(_fields({"adminPass": TEXT, "rescue_image_ref": UUID}))))
UNSHELVE = Schema(
    body(
        "unshelve",
        first(
            until(V.UNSHELVE_ZONE - 1, {}),
            since(V.UNSHELVE_ZONE, _or_null(_fields({"availability_zone": NAME}, "availability_zone")), until=V.UNSHELVE_HOST - 1),
            since(V.UNSHELVE_HOST, _or_null(_fields({"availability_zone": _or_null(NAME), "host": HOST}))),
        ),
    )
)
CHANGE_PASSWORD = Schema(body("changePassword", _fields({"adminPass": TEXT}, "adminPass")))
CRASH_DUMP = Schema(body("trigger_crash_dump", {"type": "null"}))
ADD_GROUP = Schema(body("addSecurityGroup", _fields({"name": NAME}, "name")))
REMOVE_GROUP = Schema(body("removeSecurityGroup", _fields({"name": NAME}, "name")))
ADD_FIXED_IP = Schema(
    body("addFixedIp", _fields({"networkId": {"type": ["string", "integer"], "minLength": 1, "maxLength": 255}}, "networkId"))
)
REMOVE_FIXED_IP = Schema(body("removeFixedIp", _fields({"address": IP}, "address")))
ADD_FLOATING_IP = Schema(body("addFloatingIp", _fields({"address": IP, "fixed_address": IP}, "address")))
REMOVE_FLOATING_IP = Schema(body("removeFloatingIp", _fields({"address": IP}, "address")))


def _console(action: str, *types: str) -> Schema:
    return Schema(body(action, _fields({"type": {"type": "string", "enum": list(types)}}, "type")))


VNC_CONSOLE = _console("os-getVNCConsole", "novnc", "xvpvnc")
SPICE_CONSOLE = _console("os-getSPICEConsole", "spice-html5")
CONSOLE_TOKEN = Query({}, strict_since=V.SPICE_DIRECT)
RDP_CONSOLE = _console("os-getRDPConsole", "rdp-html5")
SERIAL_CONSOLE = _console("os-getSerialConsole", "serial")
REMOTE_CONSOLE = Schema(
    body(
        "remote_console",
        _fields(
            {
                "protocol": {"type": "string", "enum": ["vnc", "spice", "rdp", "serial", since(V.MKS_CONSOLE, "mks")]},
                "type": {
                    "type": "string",
                    "enum": [
                        *("novnc", "xvpvnc", "spice-html5", "rdp-html5", "serial"),
                        since(V.MKS_CONSOLE, "webmks"),
                        since(V.SPICE_DIRECT, "spice-direct"),
                    ],
                },
            },
            "protocol",
            "type",
        ),
    )
)
