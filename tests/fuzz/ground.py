"""What there is to be asked about: real things of a running cloud, made anew as requests at random use them up.

Without them nearly every request would be about something that does not exist.
"""

import random
import time
from typing import Any

import requests

from nova_async.api.extensions import ALL
from nova_async.api.versions import V
from nova_async.model.states import LEGAL
from tests.e2e.running import ADMIN, MEMBER, RunningCloud

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDIi0oYBmSGDAyLNoDgBkAhL0uRbSpsMsqVbFHNJIVAJ"
SERVERS, MOST_SERVERS, MOST, VOLUMES = 14, 30, 30, 4
# What brings an active server to a state from which other actions are legal.
STATES: dict[str, dict[str, Any]] = {
    "paused": {"pause": None},
    "suspended": {"suspend": None},
    "stopped": {"os-stop": None},
    "resized": {"resize": {"flavorRef": "2"}},
    "rescued": {"rescue": {}},
    "shelved_offloaded": {"shelve": None},
}
LIMITS = {"instances": 1000, "cores": 4000, "ram": 4_000_000, "metadata_items": 128, "key_pairs": 100, "server_groups": 100}
SECONDS = 60.0
Thing = dict[str, Any]


class Person:
    """One who logged in; ``ask`` gives the decoded body of a good answer, None of any other."""

    def __init__(self, cloud: RunningCloud, name: str) -> None:
        self.url, self.session, self.name = cloud.url, requests.Session(), name
        login = cloud.clouds()[name]["auth"]
        user = {"name": login["username"], "domain": {"id": login["user_domain_id"]}, "password": login["password"]}
        scope = {"project": {"name": login["project_name"], "domain": {"id": login["project_domain_id"]}}}
        body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}
        answer = self.session.post(f"{cloud.url}/identity/v3/auth/tokens", json=body, timeout=SECONDS)
        answer.raise_for_status()
        self.token, told = answer.headers["X-Subject-Token"], answer.json()["token"]
        self.project, self.user = told["project"]["id"], told["user"]["id"]

    def ask(self, method: str, path: str, body: Any = None, version: str = "2.104") -> Any:
        headers = {"X-Auth-Token": self.token, "OpenStack-API-Version": f"compute {version}"}
        answer = self.session.request(method, self.url + path, json=body, headers=headers, timeout=SECONDS)
        return (answer.json() if answer.content else {}) if answer.status_code < 300 else None

    def compute(self, method: str, path: str, body: Any = None, version: str = "2.104") -> Any:
        return self.ask(method, f"/compute/v2.1{path}", body, version)


class Ground:
    """``things[kind]``: ids, or for what has numbers before 2.53 pairs of number and UUID. ``below[kind][id]``: what a thing holds."""

    def __init__(self, cloud: RunningCloud) -> None:
        self.admin, self.member = Person(cloud, ADMIN), Person(cloud, MEMBER)
        self.people = (self.admin, self.member)
        self.things: dict[str, list[Any]] = {}
        self.below: dict[str, dict[str, list[str]]] = {}
        self.image = self.admin.ask("GET", "/image/v2/images")["images"][0]["id"]
        self._protect(self.image)
        self.states: dict[str, str] = {}
        self.made = 0

    def refresh(self) -> None:
        """Look what is there, make what is missing, remove what has become too much."""
        self._keep_going()
        self._small_things()
        self._servers()
        self._spread()
        self._volumes()
        self._hosts()

    def pick(self, kind: str, chance: random.Random, version: int) -> Any | None:
        """One of a kind, None where there is none."""
        found = self.things.get(kind)
        thing = chance.choice(found) if found else None
        return thing[version >= V.SERVICE_UUIDS] if isinstance(thing, tuple) else thing

    def ready(self, action: str) -> list[str]:
        """Idle servers in whose state the action is legal, as far as known."""
        legal = LEGAL.get(action) or LEGAL.get(action.removeprefix("os-")) or frozenset()
        return [server for server, state in self.states.items() if state in legal]

    def changed(self, server: str | None) -> None:
        """Its state is not known until the next look."""
        self.states.pop(server or "", None)

    def _protect(self, image: str) -> None:
        """Servers boot from it."""
        headers = {"X-Auth-Token": self.admin.token, "Content-Type": "application/openstack-images-v2.1-json-patch"}
        change = '[{"op": "replace", "path": "/protected", "value": true}]'
        url = f"{self.admin.url}/image/v2/images/{image}"
        self.admin.session.patch(url, data=change, headers=headers, timeout=SECONDS).raise_for_status()

    # -- what requests at random break for all others

    def _keep_going(self) -> None:
        for service in self._listed(self.admin, "/os-services", "services"):
            if service["status"] != "enabled" or service["forced_down"]:
                asked = {"status": "enabled", "forced_down": False}
                self.admin.compute("PUT", f"/os-services/{service['id']}", asked)
        for person in self.people:
            self.admin.compute("DELETE", f"/os-quota-sets/{person.project}")
        self.admin.compute("PUT", "/os-quota-class-sets/default", {"quota_class_set": LIMITS})

    # -- what belongs to nobody, or is quickly made

    def _small_things(self) -> None:
        admin, things = self.admin, self.things
        things["project"] = [person.project for person in self.people]
        things["user"] = [person.user for person in self.people]
        things["alias"], things["version"], things["class"] = list(ALL), ["v2.0", "v2.1"], ["default"]
        things["date"] = ["2026-01-31 12:00:00", "2030-01-01 00:00:00.000"]
        flavors = self._kept(admin, "/flavors", "flavors?is_public=none", self._flavor, 4, spare=("1", "2", "3", "4", "5"))
        things["flavor"] = [flavor["id"] for flavor in flavors]
        if "1" not in things["flavor"]:
            self._small_flavor()
        details = self._listed(admin, "/flavors/detail?is_public=none", "flavors")
        self.below["flavor"] = {flavor["id"]: list(flavor["extra_specs"]) or ["hw:cpu_policy"] for flavor in details}
        groups = [g for person in self.people for g in self._kept(person, "/os-server-groups", "server_groups", self._group, 2)]
        things["group"] = [group["id"] for group in groups]
        things["aggregate"] = [str(a["id"]) for a in self._kept(admin, "/os-aggregates", "aggregates", self._aggregate, 2, most=5)]
        things["image"] = [*(image["id"] for image in self._images()), *[self.image] * 5]  # servers boot from this one only
        self.below["image"] = {image: ["key", "architecture"] for image in things["image"]}
        keys = [k["keypair"] for person in self.people for k in self._kept(person, "/os-keypairs", "keypairs", self._keypair, 2)]
        things["keypair"] = [key["name"] for key in keys]
        for kind, path in (("network", "networks"), ("security_group", "security-groups"), ("floating_ip", "floatingips")):
            known = [thing for person in self.people for thing in self._network_things(person, path)]
            things[kind] = list(dict.fromkeys(thing["id"] for thing in known))
        things["group_name"] = [g["name"] for person in self.people for g in self._network_things(person, "security-groups")]
        things["floating_address"] = [ip["floating_ip_address"] for p in self.people for ip in self._network_things(p, "floatingips")]
        things["rule"] = [rule["id"] for person in self.people for rule in self._network_things(person, "security-group-rules")]
        self._keep_security_groups()

    def _flavor(self, person: Person) -> None:
        self.made += 1
        asked = {"name": f"fuzz-{self.made}", "ram": 64, "vcpus": 1, "disk": 1, "os-flavor-access:is_public": self.made % 2 == 0}
        made = person.compute("POST", "/flavors", {"flavor": asked})
        if made:
            person.compute("POST", f"/flavors/{made['flavor']['id']}/os-extra_specs", {"extra_specs": {"hw:cpu_policy": "shared"}})

    def _small_flavor(self) -> None:
        """The one that servers have."""
        asked = {"id": "1", "name": f"small-{self.made}", "ram": 64, "vcpus": 1, "disk": 1}
        made = self.admin.compute("POST", "/flavors", {"flavor": asked})
        assert made, "the flavor that servers are made of cannot be made"
        self.things["flavor"].append("1")

    def _group(self, person: Person) -> None:
        person.compute("POST", "/os-server-groups", {"server_group": {"name": "fuzz", "policy": "soft-affinity"}})

    def _aggregate(self, person: Person) -> None:
        self.made += 1
        person.compute("POST", "/os-aggregates", {"aggregate": {"name": f"fuzz-{self.made}"}})

    def _keypair(self, person: Person) -> None:
        self.made += 1
        person.compute("POST", "/os-keypairs", {"keypair": {"name": f"fuzz-{self.made}", "public_key": KEY}})

    def _images(self) -> list[Thing]:
        """The one that servers boot from, and some without data."""
        images = [image for person in self.people for image in self._listed(person, "/image/v2/images", "images", "")]
        for person in self.people:
            own = [image for image in images if image["owner"] == person.project and image["id"] != self.image]
            if not own:
                person.ask("POST", "/image/v2/images", {"name": "fuzz", "key": "value", "architecture": "x86_64"})
            for image in own[:-10]:
                person.ask("DELETE", f"/image/v2/images/{image['id']}")
        return images

    def _network_things(self, person: Person, path: str) -> list[Thing]:
        told = person.ask("GET", f"/network/v2.0/{path}") or {}
        return next(iter(told.values()), [])

    def _keep_security_groups(self) -> None:
        for person in self.people:
            groups = [g for g in self._network_things(person, "security-groups") if g["name"] != "default"]
            if not groups:
                person.ask("POST", "/network/v2.0/security-groups", {"security_group": {"name": "fuzz"}})
            for group in groups[:-5]:
                person.ask("DELETE", f"/network/v2.0/security-groups/{group['id']}")

    def _kept(
        self, person: Person, path: str, where: str, make: Any, least: int, most: int = MOST, spare: tuple[str, ...] = ()
    ) -> list[Thing]:
        """The list after some were made, or the oldest removed."""
        name, _, query = where.partition("?")
        listing = f"{path}?{query}" if query else path
        found = self._listed(person, listing, name)
        for thing in found[: max(0, len(found) - most)]:
            known = thing.get("keypair", thing)
            if str(known.get("id")) not in spare:
                person.compute("DELETE", f"{path}/{requests.utils.quote(str(known.get('id', known['name'])), safe='')}")
        for _ in range(least - len(found)):
            make(person)
        return self._listed(person, listing, name) if len(found) < least or len(found) > most else found

    def _listed(self, person: Person, path: str, name: str, root: str = "/compute/v2.1") -> list[Thing]:
        told = person.ask("GET", root + path)
        return told[name] if told else []

    # -- servers, and what hangs below them

    def _servers(self) -> None:
        servers = self._listed(self.admin, "/servers/detail?all_tenants=1&sort_key=created_at&sort_dir=asc", "servers")
        for server in servers[: max(0, len(servers) - MOST_SERVERS)]:
            self.admin.compute("POST", f"/servers/{server['id']}/action", {"forceDelete": None})
        missing = SERVERS - len([s for s in servers if s["status"] not in ("ERROR", "DELETED", "SOFT_DELETED")])
        for n in range(missing):
            self._boot(self.people[n % 2])
        if missing > 0:
            time.sleep(0.5)
            servers = self._listed(self.admin, "/servers/detail?all_tenants=1", "servers")
        self.things["server"] = [server["id"] for server in servers]
        self.states = {s["id"]: s["OS-EXT-STS:vm_state"] for s in servers if s["OS-EXT-STS:task_state"] is None}
        self.below["tags"] = {server["id"]: server["tags"] for server in servers}
        self.below["metadata"] = {server["id"]: list(server["metadata"]) for server in servers}
        self.below["ips"] = {server["id"]: list(server["addresses"]) for server in servers}
        ports: dict[str, list[str]] = {}
        for port in self._network_things(self.admin, "ports"):
            ports.setdefault(port["device_id"], []).append(port["id"])
        self.below["os-interface"], self.things["port"] = ports, [port for held in ports.values() for port in held]
        actions: dict[str, list[str]] = {}
        for server in servers[-4:]:
            told = self._listed(self.admin, f"/servers/{server['id']}/os-instance-actions", "instanceActions")
            actions[server["id"]] = [action["request_id"] for action in told]
        self.below["os-instance-actions"] = actions
        moves: dict[str, list[str]] = {}
        for move in self._listed(self.admin, "/os-migrations", "migrations"):
            moves.setdefault(move["instance_uuid"], []).append(str(move["id"]))
        self.below["migrations"] = moves

    def _spread(self) -> None:
        """One server at least in each state that takes an action to come to; known at the next look."""
        active = [server for server, state in self.states.items() if state == "active"]
        missing = [state for state in STATES if state not in self.states.values()]
        for server, state in zip(active[2:], missing, strict=False):
            self.admin.compute("POST", f"/servers/{server}/action", STATES[state])
            self.changed(server)

    def _volumes(self) -> None:
        """Volumes and snapshots of both people; some that are attached."""
        found: list[Thing] = []
        for person in self.people:
            root = f"/volume/v3/{person.project}"
            own = self._listed(person, "/volumes/detail", "volumes", root)
            for volume in own[MOST_SERVERS:]:
                person.ask("DELETE", f"{root}/volumes/{volume['id']}?force=True")
            for _ in range(VOLUMES - len([v for v in own if v["status"] == "available"])):
                person.ask("POST", f"{root}/volumes", {"volume": {"size": 1}})
            snapshots = self._listed(person, "/snapshots", "snapshots", root)
            self.things.setdefault("snapshot", [])
            self.things["snapshot"] = [*self.things["snapshot"], *(s["id"] for s in snapshots)][-MOST:]
            free = [v["id"] for v in own if v["status"] == "available"]
            if free and not snapshots:
                person.ask("POST", f"{root}/snapshots", {"snapshot": {"volume_id": free[0], "force": True}})
            if free and (active := [server for server, state in self.states.items() if state == "active"]):
                person.compute("POST", f"/servers/{active[0]}/os-volume_attachments", {"volumeAttachment": {"volumeId": free[-1]}})
                self.changed(active[0])
            found += own
        self.things["volume"] = [volume["id"] for volume in found]
        held: dict[str, list[str]] = {}
        for volume in found:
            for attachment in volume["attachments"]:
                held.setdefault(attachment["server_id"], []).append(volume["id"])
        self.below["os-volume_attachments"] = held

    def _boot(self, person: Person) -> None:
        server = {
            "name": "fuzz",
            "imageRef": self.image,
            "flavorRef": "1",
            "networks": "auto",
            "tags": ["tag"],
            "metadata": {"key": "value"},
        }
        person.compute("POST", "/servers", {"server": server})

    def _hosts(self) -> None:
        old, new = self.admin.compute("GET", "/os-services", version="2.52"), self.admin.compute("GET", "/os-services")
        uuids = {(s["host"], s["binary"]): s["id"] for s in (new or {"services": []})["services"]}
        numbers = {(s["host"], s["binary"]): str(s["id"]) for s in (old or {"services": []})["services"]}
        self.things["service"] = [(numbers[key], uuids[key]) for key in numbers.keys() & uuids.keys()]
        old, new = self.admin.compute("GET", "/os-hypervisors", version="2.52"), self.admin.compute("GET", "/os-hypervisors")
        known = {h["hypervisor_hostname"]: h["id"] for h in (new or {"hypervisors": []})["hypervisors"]}
        self.things["hypervisor"] = [(str(h["id"]), known[h["hypervisor_hostname"]]) for h in (old or {"hypervisors": []})["hypervisors"]]
        self.things["host"], self.things["zone"], self.things["binary"] = list(known), ["nova"], ["nova-compute"]
