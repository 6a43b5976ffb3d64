"""Aiming: names and ids of real things, put where a generated request would name something that does not exist."""

import random
from typing import Any

from nova_async.api.schema import Literal
from nova_async.api.versions import V
from tests.fuzz.ground import Ground

# What the first parameter of a path names, by the path's first segment, and then what the second names below it.
COLLECTIONS = {
    "servers": "server",
    "os-volumes_boot": "server",
    "flavors": "flavor",
    "images": "image",
    "versions": "version",
    "extensions": "alias",
    "os-keypairs": "keypair",
    "os-quota-sets": "project",
    "os-quota-class-sets": "class",
    "os-simple-tenant-usage": "project",
    "os-instance_usage_audit_log": "date",
    "os-aggregates": "aggregate",
    "os-hypervisors": "hypervisor",
    "os-hosts": "host",
    "os-services": "service",
    "os-server-groups": "group",
    "os-networks": "network",
    "os-tenant-networks": "network",
    "os-security-groups": "security_group",
    "os-security-group-rules": "rule",
    "os-floating-ips": "floating_ip",
    "os-volumes": "volume",
    "os-snapshots": "snapshot",
}
BELOW = {"os-extra_specs": "flavor", "metadata": "metadata"}
# What a key of a body or a query names.
KEYS = {
    **dict.fromkeys(("imageRef", "rescue_image_ref", "image_id", "image"), "image"),
    **dict.fromkeys(("flavorRef", "flavor"), "flavor"),
    **dict.fromkeys(("net_id", "networkId"), "network"),
    **dict.fromkeys(("port", "port_id"), "port"),
    **dict.fromkeys(("host", "hypervisor_hostname", "node"), "host"),
    **dict.fromkeys(("availability_zone", "zone"), "zone"),
    **dict.fromkeys(("tenant", "project_id", "tenant_id"), "project"),
    **dict.fromkeys(("group", "server_group"), "group"),
    **dict.fromkeys(("server_uuid", "instance_uuid", "same_host", "different_host"), "server"),
    **dict.fromkeys(("security_group", "group_id", "parent_group_id"), "security_group"),
    **dict.fromkeys(("volumeId", "volume_id"), "volume"),
    "snapshot_id": "snapshot",
    "binary": "binary",
    "group_name": "group_name",
    "floating_address": "floating_address",
    "key_name": "keypair",
    "user_id": "user",
    "public_key": "public_key",
}
AROUND = {
    ("networks", "uuid"): "net_id",
    ("cache", "id"): "image_id",
    **{(action, "name"): "group_name" for action in ("addSecurityGroup", "removeSecurityGroup")},
    **{(action, "address"): "floating_address" for action in ("addFloatingIp", "removeFloatingIp")},
}
HIT, KNOWN_KEY, OPTIONAL, READY, OFTEN = 0.85, 0.8, 0.25, 0.8, 0.7


class Aim:
    """Puts real names into one request after another; the same seed and ground give the same."""

    def __init__(self, ground: Ground, chance: random.Random) -> None:
        self.ground, self.chance = ground, chance

    def path(self, template: str, given: dict[str, Any], version: int, action: str | None = None) -> dict[str, Any]:
        """The parameters of a path, most of them replaced; servers mostly by one whose state allows the action."""
        names = [part[1:-1] for part in template.split("/") if part.startswith("{")]
        parts = template.strip("/").split("/")
        made = dict(given)
        if not names or self.chance.random() > HIT:
            return made
        kind = COLLECTIONS.get(parts[0], "")
        if template.endswith(("/search", "/servers")):
            kind = "host"
        first = self.ground.pick(kind, self.chance, version)
        if action is not None and (ready := self.ground.ready(action)) and self.chance.random() < READY:
            first = self.chance.choice(ready)
        if len(names) == 1:
            return made | ({names[0]: first} if first is not None else {})
        table = self.ground.below.get("image" if parts[0] == "images" else BELOW.get(parts[2], parts[2]), {})
        held = {thing: named for thing, below in table.items() if (named := [name for name in below if name.strip()])}
        if held:  # blanks alone may be a name, but no client sends them at the end of an address
            first = self.chance.choice(list(held))
            made[names[1]] = self.chance.choice(held[first])
        return made | ({names[0]: first} if first is not None else {})

    def body(self, value: Any, version: int, key: str = "") -> Any:
        """The same body, with real names under keys that name something."""
        if isinstance(value, dict):
            return {name: self.body(inner, version, self._sense(key, name)) for name, inner in value.items()}
        if isinstance(value, list):
            return [self.body(inner, version, key) for inner in value]
        if isinstance(value, str | int) and not isinstance(value, bool) and key in KEYS and self.chance.random() < KNOWN_KEY:
            found = self.ground.pick(KEYS[key], self.chance, version)
            return value if found is None else found
        return value

    def pruned(self, value: Any, schema: Literal) -> Any:
        """The same body with few of its optional keys: many at once are rarely accepted together."""
        for part in (*schema.get("oneOf", ()), *schema.get("anyOf", ())):
            if "properties" in part and isinstance(value, dict):
                return self.pruned(value, part)
        known, needed = schema.get("properties"), schema.get("required", ())
        if not known or not isinstance(value, dict):
            return value
        kept = {name for name in value if name in needed or self.chance.random() < OPTIONAL}
        return {name: self.pruned(inner, known.get(name, {})) for name, inner in value.items() if name in kept}

    def bootable(self, body: Any, version: int) -> Any:
        """What a schema cannot say of a new server: it needs an image or a volume, and a list of networks is easily wrong."""
        server = body.get("server") if isinstance(body, dict) else None
        if isinstance(server, dict) and "flavorRef" in server:
            if self.chance.random() < OFTEN:
                server["imageRef"] = self.ground.image
            if version >= V.NETWORKS_MANDATORY and self.chance.random() < OFTEN:
                server["networks"] = self.chance.choice(["auto", "none"])
        return body

    def _sense(self, outer: str, name: str) -> str:
        """``uuid`` of a network, ``id`` of an image and the like are known by what is around them."""
        return AROUND.get((outer, name), name)

    def item(self, template: str, path: dict[str, Any], body: Any) -> Any:
        """The same body, whose only inner key is the last word of the path, as those of metadata must be."""
        if not template.endswith(("/metadata/{id}", "/os-extra_specs/{id}")) or not isinstance(body, dict):
            return body
        if isinstance(inner := body.get("meta"), dict) and inner:
            return {"meta": {path["id"]: next(iter(inner.values()))}}
        return {path["id"]: next(iter(body.values()))} if body and "meta" not in body else body

    def query(self, given: dict[str, Any] | None, version: int) -> dict[str, Any] | None:
        return None if given is None else {key: self.body(value, version, key) for key, value in given.items()}
