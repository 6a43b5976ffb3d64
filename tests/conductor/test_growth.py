"""SEC-061: what it takes to make a server does not grow with the servers that are there."""

from pathlib import Path

from nova_async.db import Database, query
from nova_async.db.networks import Place
from tests.cloud import USER, Cloud, cloud

SIZES = (10, 40)  # the advisory's are 100 and 400: four times as many, as here
RARELY: dict[str, object] = {  # so that what is counted is of the creates
    "conductor__poll_seconds": 60.0,
    "conductor__lease_seconds": 600.0,
    "compute__report_seconds": 600.0,
    "compute__down_seconds": 3600.0,
}


async def test_messages_and_statements_of_a_create_do_not_grow_with_its_groups(database: Database, tmp_path: Path) -> None:
    """All servers are in one security group, on one network, in one server group and on two hosts, which hear of each other's ports."""
    async with cloud(database, tmp_path, hosts=0, network__mode="bridge", **RARELY) as made:
        made.conductor.desk.surroundings.networks = made.networks
        for host in ("host1", "host2"):
            await made.start_host(host, vcpus=1000, memory_mib=10**6, disk_gib=10**5)
        group = made.world.uuid()
        async with made.database.connection() as conn:
            await conn.execute(
                "INSERT INTO server_groups (id, project_id, user_id, name, policy) VALUES ($1, $2, $3, 'g', 'soft-anti-affinity')",
                *(group, USER.project_id, USER.user_id),
            )
        work: dict[int, tuple[int, int]] = {}
        count = 0
        for size in SIZES:
            while count < size:
                await another(made, group)
                count += 1
            measured = [await another(made, group) for _ in range(3)]
            count += len(measured)
            work[size] = min(messages for messages, _ in measured), min(statements for _, statements in measured)
        assert len({row.host for row in await made.servers()}) == 2
    for first, last in zip(*(work[size] for size in SIZES), strict=True):
        assert first > 0
        assert last <= 1.2 * first, work


async def another(made: Cloud, group: str) -> tuple[int, int]:
    """One more server; the messages and the statements that it took."""
    server = await made.insert(scheduler_hints={"group": group}, security_groups=["default"])
    async with made.database.connection() as conn:
        await conn.execute("INSERT INTO server_group_members (group_id, instance_id) VALUES ($1, $2)", group, server)
    places: set[Place] = set()
    made.networks.on_move = places.update
    messages, statements = made.bus.messages_sent, query.statements_run
    await made.begin("create", server)
    await made.settle()
    assert (await made.server(server)).vm_state == "active"
    assert places, "its port is somewhere now"
    await made.conductor.desk.surroundings._tell(places)  # else it waits for more of them, how many is a matter of time
    return made.bus.messages_sent - messages, query.statements_run - statements
