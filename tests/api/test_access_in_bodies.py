"""Ids of another project's things in the bodies of requests: as if there were no such things, and nothing is changed or begun."""

import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from nova_async.services.image.blank import blank_qcow2
from nova_async.services.image.builtin import BuiltinImages
from tests.api.conftest import CALLERS, Api, volume
from tests.api.proxied import true_services
from tests.api.test_access_matrix import KEY, digests

Things = dict[str, str]
DISK = {"source_type": "image", "destination_type": "local", "boot_index": 0, "uuid": ""}  # of the image that the server is made from
CREATE: dict[str, Any] = {  # what the body of a new server names, and how
    "image": lambda id: {"imageRef": id},
    "flavor": lambda id: {"flavorRef": id},
    "network": lambda id: {"networks": [{"uuid": id}]},
    "port": lambda id: {"networks": [{"port": id}]},
    "security group": lambda id: {"security_groups": [{"name": id}]},
    "key": lambda id: {"key_name": id},
    "server group": lambda id: {"os:scheduler_hints": {"group": id}},
    "volume": lambda id: {"block_device_mapping_v2": [dict(DISK), {"uuid": id, "source_type": "volume", "destination_type": "volume"}]},
}
BELOW: dict[str, tuple[str, str, Any]] = {  # of a server that is there: path, what it names, body
    "attach a network": ("/os-interface", "network", lambda id: {"interfaceAttachment": {"net_id": id}}),
    "attach a port": ("/os-interface", "port", lambda id: {"interfaceAttachment": {"port_id": id}}),
    "attach a volume": ("/os-volume_attachments", "volume", lambda id: {"volumeAttachment": {"volumeId": id}}),
    "rebuild": ("/action", "image", lambda id: {"rebuild": {"imageRef": id}}),
    "rescue": ("/action", "image", lambda id: {"rescue": {"rescue_image_ref": id}}),
    "resize": ("/action", "flavor", lambda id: {"resize": {"flavorRef": id}}),
    "rebuild with a key": ("/action", "key", lambda id: {"rebuild": {"imageRef": "", "key_name": id}}),
    "add a security group": ("/action", "security group", lambda id: {"addSecurityGroup": {"name": id}}),
}


async def belongings(api: Api, caller: str) -> Things:
    """Ids of a project's own things that bodies of requests may name."""
    ctx, networks, images = CALLERS[caller], api.parts.networks, api.parts.images
    assert isinstance(images, BuiltinImages)

    async def data() -> AsyncIterator[bytes]:
        yield blank_qcow2(1)

    image = await images.create(ctx, "own", disk_format="qcow2", container_format="bare", properties={})
    await images.upload(ctx, image.id, data())
    network = await networks.make(ctx, "networks", {"name": "n"})
    await networks.make(ctx, "subnets", {"network_id": network["id"], "cidr": "10.9.0.0/24", "ip_version": 4})
    port = await networks.make(ctx, "ports", {"network_id": network["id"]})
    group = await networks.make(ctx, "security-groups", {"name": f"group-{caller}"})
    one = str(uuid.uuid4())
    api.volumes.shelf[one] = volume(one, project_id=ctx.project_id, bootable=True, size=2)
    flavor = (await api.flavor(f"of-{caller}", **{"os-flavor-access:is_public": False}))["id"]
    assert (await api.post(f"/flavors/{flavor}/action", {"addTenantAccess": {"tenant": ctx.project_id}}, "admin")).status == 200
    gathered = await api.post("/os-server-groups", {"server_group": {"name": "g", "policies": ["affinity"]}}, caller)
    assert (await api.post("/os-keypairs", {"keypair": {"name": f"key-{caller}", "public_key": KEY}}, caller)).status == 200
    return {
        "image": image.id, "network": network["id"], "port": port["id"], "security group": group["id"], "volume": one, "flavor": flavor,
        "server group": gathered.body["server_group"]["id"], "key": f"key-{caller}",
    }  # fmt: skip


async def serve(api: Api, mine: Things) -> None:
    """A server with a port."""
    flavor = (await api.flavor("other"))["id"]
    body = {"server": {"name": "s", "imageRef": mine["image"], "flavorRef": flavor, "networks": "none"}}
    mine["server"] = (await api.post("/servers", body, "member", "2.50")).body["server"]["id"]
    port = {"network_id": mine["network"], "device_id": mine["server"], "device_owner": "compute:nova"}
    await api.parts.networks.make(CALLERS["member"], "ports", port)
    await api.settle(mine["server"], ports=[])


async def asked(api: Api, mine: Things, what: str, id: str) -> tuple[int, str]:
    """Status and answer of the request that names this id."""
    if what in CREATE:
        hints = CREATE[what](id)
        outer = {"os:scheduler_hints": hints.pop("os:scheduler_hints")} if "os:scheduler_hints" in hints else {}
        for device in hints.get("block_device_mapping_v2", ())[:1]:
            device["uuid"] = mine["image"]
        named = {"networks": [{"uuid": mine["network"]}]} | hints
        body = {"server": {"name": "s", "imageRef": mine["image"], "flavorRef": mine["flavor"]} | named} | outer
        answer = await api.post("/servers", body, "member", "2.50")
    else:
        path, _, made = BELOW[what]
        body = made(id)
        if body.get("rebuild", {}).get("imageRef") == "":
            body["rebuild"]["imageRef"] = mine["image"]
        answer = await api.post(f"/servers/{mine['server']}{path}", body, "member", "2.54")
    return answer.status, repr(answer)


async def test_what_another_project_has_can_be_named_in_no_body(api: Api, tmp_path: Path) -> None:
    """SEC-029"""
    async with true_services(api, tmp_path):
        mine, theirs = await belongings(api, "member"), await belongings(api, "stranger")
        await serve(api, mine)
        before, begun = await digests(api), len(api.starter.begun)
        for what in (*CREATE, *BELOW):
            thing = what if what in CREATE else BELOW[what][1]
            status, told = await asked(api, mine, what, theirs[thing])
            assert status in (400, 403, 404), (what, told)
        assert (await digests(api), len(api.starter.begun)) == (before, begun)
        assert all(held[0] != theirs["volume"] for held in api.volumes.held.values())


@pytest.mark.parametrize("what", [what for what in (*CREATE, *BELOW) if BELOW.get(what, ("",))[0] != "/os-interface"])
async def test_what_is_ones_own_can_be_named_there(api: Api, tmp_path: Path, what: str) -> None:
    """So that it is whose they are, and nothing else, for which the others were refused. Who attaches an interface waits for a host."""
    async with true_services(api, tmp_path):
        mine = await belongings(api, "member")
        await serve(api, mine)
        status, told = await asked(api, mine, what, mine[what if what in CREATE else BELOW[what][1]])
        assert status in (200, 202), told
