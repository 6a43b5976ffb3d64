"""NUMA topology through the API: flavors that cannot be are refused, and a server shows what it was given."""

import json
import uuid
from datetime import UTC, datetime

import pytest

from nova_async.config import Config, load
from nova_async.db import topologies
from nova_async.model.topology import Fit, FittedCell
from tests.api.conftest import IMAGE
from tests.api.samples import SAMPLES

CELLS = (
    FittedCell(host_cell=0, cpus=(0, 1), memory_mib=1024, pins=((0, 0), (1, 5)), threads=2, page_size=4),
    FittedCell(host_cell=1, cpus=(2, 3), memory_mib=2048, pins=((2, 1), (3, 8)), threads=2, page_size=4),
)
TWO_CELLS = {"hw:numa_nodes": "2", "hw:numa_cpus.0": "0-1", "hw:numa_mem.0": "1024", "hw:numa_cpus.1": "2-3", "hw:numa_mem.1": "2048"}


@pytest.fixture
def config() -> Config:
    return load(None, {}, pci__alias=[{"name": "gpu", "vendor_id": "10de", "product_id": "1eb8"}])


async def flavor(api, flavorid: str, specs: dict[str, str], **fields) -> None:
    await api.flavor(flavorid, **({"ram": 3072, "vcpus": 4} | fields))
    answer = await api.post(f"/flavors/{flavorid}/os-extra_specs", {"extra_specs": specs}, "admin", "2.86")
    assert answer.status == 200, answer


async def given_cells(api, names: dict[str, str]) -> None:
    """A server, by name, that was given cells of a host."""
    await flavor(api, "numa", TWO_CELLS | {"hw:cpu_policy": "dedicated"})
    names["server"] = await api.server(flavorRef="numa")
    host = str(uuid.uuid4())
    async with api.database.transaction() as conn:
        await conn.execute("INSERT INTO hosts (id, name, service_id) VALUES ($1, 'a host', $1)", host)
        await topologies.insert(conn, names["server"], 0, host, Fit(cells=CELLS))


@pytest.mark.parametrize("specs", [{"hw:cpu_policy": "dedicated"}, {"hw:numa_nodes": "1"}, {"hw:cpu_threads": "2"}])
async def test_more_cpus_than_anybody_could_count_are_refused_before_they_are_counted(api, specs: dict[str, str]) -> None:
    await flavor(api, "vast", specs, vcpus=2_095_133_040)
    answer = await api.post("/servers", {"server": {"name": "web", "imageRef": IMAGE, "flavorRef": "vast"}})
    assert (answer.status, answer.message) == (
        400, "Requested vCPU limits 65536:65536:65536 are impossible to satisfy for vcpus count 2095133040",
    )  # fmt: skip
    server = await api.server()
    assert (await api.act(server, "resize", {"flavorRef": "vast"})).status == 400


async def test_what_a_server_was_given(api) -> None:
    names: dict[str, str] = {}
    await given_cells(api, names)
    server = names["server"]
    shown = (await api.get(f"/servers/{server}/topology", "admin", "2.78")).body
    assert shown["pagesize_kb"] == 4
    assert shown["nodes"][1] == {
        "cpu_pinning": {"2": 1, "3": 8}, "host_node": 1, "memory_mb": 2048, "siblings": [[2, 3]], "vcpu_set": [2, 3],
    }  # fmt: skip
    mine = (await api.get(f"/servers/{server}/topology", "reader", "2.78")).body
    assert mine["nodes"][1] == {"memory_mb": 2048, "siblings": [[2, 3]], "vcpu_set": [2, 3]}
    folder = SAMPLES / "os-server-topology" / "v2.78"
    if folder.exists():
        assert shown == json.loads((folder / "servers-topology-resp.json").read_text())
        assert mine == json.loads((folder / "servers-topology-resp-user.json").read_text())


async def test_before_a_host_is_found_what_is_wanted_is_shown(api) -> None:
    await flavor(api, "numa", TWO_CELLS)
    server = await api.server(flavorRef="numa", state=None)
    shown = (await api.get(f"/servers/{server}/topology", "member", "2.78")).body
    assert [node["vcpu_set"] for node in shown["nodes"]] == [[0, 1], [2, 3]]
    assert shown["pagesize_kb"] is None
    assert (await api.get(f"/servers/{server}/topology", "member", "2.77")).status == 404
    assert (await api.get(f"/servers/{server}/topology", "stranger", "2.78")).status == 404


@pytest.mark.parametrize(
    ("specs", "words"),
    [
        ({"hw:numa_nodes": "3"}, "Explicit assignment of CPUs and memory to nodes is required"),
        ({"hw:cpu_policy": "mixed"}, "Dedicated CPU set can be specified"),
        ({"pci_passthrough:alias": "fpga:1"}, "PCI alias fpga is not defined"),
    ],
)
async def test_a_flavor_that_no_host_could_serve_is_refused(api, specs, words) -> None:
    await flavor(api, "odd", specs)
    answer = await api.post(
        "/servers", {"server": {"name": "web", "imageRef": IMAGE, "flavorRef": "odd", "networks": "none"}}, version="2.78"
    )
    assert answer.status == 400
    assert words in answer.message
    server = await api.server()
    answer = await api.act(server, "resize", {"flavorRef": "odd"})
    assert answer.status == 400
    assert words in answer.message


async def test_a_rebuilt_server_keeps_its_cells(api) -> None:
    server = await api.server()
    await api.settle(server, launched_at=datetime.now(UTC))
    api.images.shelf[IMAGE].properties["hw_numa_nodes"] = "1"
    answer = await api.act(server, "rebuild", {"imageRef": IMAGE})
    assert (answer.status, "cannot be changed as part of a rebuild" in answer.message) == (400, True)
