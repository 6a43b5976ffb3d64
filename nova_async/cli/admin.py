"""``nova-async admin``: for operators, with the database and the bus in hand."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from nova_async.certs.authority import Authority
    from nova_async.config import Config
    from nova_async.db import Database
    from nova_async.workflow.row import WorkflowRow

DEFAULT_STATE = "~/.local/share/nova-async"


@click.group()
@click.option("--config", "path", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="The cluster's configuration file.")
@click.option("--state-dir", type=click.Path(file_okay=False, path_type=Path), help=f"The all-in-one's state. [default: {DEFAULT_STATE}]")
@click.pass_context
def admin(ctx: click.Context, path: Path | None, state_dir: Path | None) -> None:
    """Look into a cloud and mend it. The all-in-one (or the cluster's database) must be running."""
    from nova_async import log

    log.configure("error")
    ctx.obj = (path, state_dir)


@admin.group()
def workflow() -> None:
    """Operations on servers: what is open, what failed, and where."""


@workflow.command("list")
@click.option("--state", "states", multiple=True, help="Only these states: queued, running, waiting, undoing, done, failed, cancelled.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@click.pass_obj
def list_(where: Any, states: tuple[str, ...], limit: int) -> None:
    """List operations, newest first."""

    async def work(database: "Database", config: "Config") -> None:
        from nova_async.db import workflows

        async with database.connection() as conn:
            rows = await workflows.recent(conn, list(states), limit)
        _table(["id", "kind", "server", "state", "step", "attempt", "created"], [_line(r) for r in rows])

    _with_database(where, work)


@workflow.command()
@click.argument("workflow_id", type=click.UUID)
@click.pass_obj
def show(where: Any, workflow_id: Any) -> None:
    """Show one operation with its history."""

    async def work(database: "Database", config: "Config") -> None:
        from nova_async.db import workflows

        async with database.connection() as conn:
            row = await workflows.get(conn, str(workflow_id))
        for name in ("id", "kind", "subject_id", "state", "step", "attempt", "signal", "owner", "request_id", "created_at", "finished_at"):
            click.echo(f"{name:<12} {getattr(row, name)}")
        if row.error:
            click.echo(f"{'error':<12} {row.error.get('kind')}: {row.error.get('message')}")
        _table(["event", "result", "host", "start", "finish", "message"], [_event(e) for e in row.history])

    _with_database(where, work)


@workflow.command()
@click.argument("workflow_id", type=click.UUID)
@click.pass_obj
def retry(where: Any, workflow_id: Any) -> None:
    """Let a failed operation run again from the step where it failed."""
    _revive(where, str(workflow_id), "running")


@workflow.command()
@click.argument("workflow_id", type=click.UUID)
@click.pass_obj
def undo(where: Any, workflow_id: Any) -> None:
    """Turn an open operation back, or undo what a failed one left."""

    async def work(database: "Database", config: "Config") -> None:
        from nova_async.db import workflows

        async with database.connection() as conn:
            row = await workflows.signal_one(conn, str(workflow_id), "cancel") or await workflows.revive(conn, str(workflow_id), "undoing")
        click.echo(f"{workflow_id} is turned back" if row else f"{workflow_id} is over; there is nothing to undo")

    _with_database(where, work)


@admin.command()
@click.pass_obj
def check(where: Any) -> None:
    """Look for violated invariants; the status is 1 when there are any."""

    async def work(database: "Database", config: "Config") -> None:
        from nova_async.conductor.invariants import check_invariants

        found = await check_invariants(database)
        for violation in found:
            click.echo(violation)
        click.echo(f"{len(found)} violations" if found else "all is well")
        if found:
            raise SystemExit(1)

    _with_database(where, work)


@admin.command()
@click.option("--post", is_flag=True, help="Also those that must wait until the old release is gone.")
@click.pass_obj
def migrate(where: Any, post: bool) -> None:
    """Bring the database's schema up to date."""
    from nova_async.cli.running import run_or_refuse

    config = run_or_refuse(lambda: _config(where))

    async def work() -> None:
        from nova_async.db.migrations import migrate as migrate_schemas

        applied = await migrate_schemas(_url(config), post=post)
        click.echo("\n".join(applied) or "the schema is up to date")

    asyncio.run(work())


@admin.command("enrol-host")
@click.argument("host")
@click.option("--name", "names", multiple=True, help="A DNS name or an address of the host, to be in its certificate. Several times.")
@click.pass_obj
def enrol_host(where: Any, host: str, names: tuple[str, ...]) -> None:
    """Print a join token: leave for HOST to get its certificate, once (nova-async enrol)."""

    async def work(authority: "Authority") -> None:
        click.echo(await authority.allow_host(host, [*dict.fromkeys((host, *names))]))

    _with_authority(where, work)


@admin.group()
def certificate() -> None:
    """What the cloud's certificate authority made. Run this where the authority's directory is."""


@certificate.command("list")
@click.pass_obj
def list_certificates(where: Any) -> None:
    """List all that have not expired."""

    async def work(authority: "Authority") -> None:
        rows = [
            [each.serial, each.party, f"{each.expires_at:%Y-%m-%d %H:%M}", f"{each.revoked_at:%Y-%m-%d %H:%M}" if each.revoked_at else ""]
            for each in await authority.valid()
        ]
        _table(["serial", "party", "expires", "revoked"], rows)

    _with_authority(where, work)


@certificate.command()
@click.pass_obj
def root(where: Any) -> None:
    """Print the root certificate, which clients of the API and hosts trust, with its SHA-256."""

    async def work(authority: "Authority") -> None:
        from nova_async.certs import x509

        click.echo(f"# SHA-256 {x509.fingerprint(authority.root.certificate)}")
        click.echo(authority.root_pem.decode().strip())

    _with_authority(where, work)


@certificate.command()
@click.argument("party")
@click.option("--name", "names", multiple=True, help="A DNS name or an address to be in the certificate. Several times.")
@click.option("--directory", type=click.Path(file_okay=False, path_type=Path), required=True, help="Where key and certificate are written.")
@click.option("--broker", is_flag=True, help="Let it use the broker, too: make its account there.")
@click.pass_obj
def issue(where: Any, party: str, names: tuple[str, ...], directory: Path, broker: bool) -> None:
    """Make key and certificate for a part of this machine that is no worker: the broker, an application."""

    async def work(authority: "Authority") -> None:
        from nova_async.certs.keeper import write_identity

        key, made = await authority.issue(party, names, broker=broker)
        await asyncio.to_thread(write_identity, directory, key, made.chain, made.root)
        click.echo(f"written to {directory}")

    _with_authority(where, work)


@certificate.command()
@click.argument("party")
@click.pass_obj
def revoke(where: Any, party: str) -> None:
    """Revoke all certificates of PARTY (a worker's is compute.<host>), or one by its serial number."""

    async def work(authority: "Authority") -> None:
        for each in await authority.revoke(party):
            click.echo(f"revoked {each.serial} of {each.party}")

    _with_authority(where, work)


@admin.group("dead-letters")
def dead_letters() -> None:
    """Messages that could not be handled."""


@dead_letters.command("list")
@click.pass_obj
def list_dead(where: Any) -> None:
    """List them, oldest first."""

    async def work(bus: Any) -> None:
        letters = await bus.dead_letters.list()
        _table(
            ["id", "target", "type", "tries", "parked", "reason"],
            [[x.id, x.target, x.type, str(x.tries), x.parked_at, x.reason] for x in letters],
        )

    _with_bus(where, work)


@dead_letters.command()
@click.argument("letter_id")
@click.pass_obj
def requeue(where: Any, letter_id: str) -> None:
    """Hand one back to its target."""

    async def work(bus: Any) -> None:
        await bus.dead_letters.requeue(letter_id)
        click.echo(f"{letter_id} is on its way")

    _with_bus(where, work)


@dead_letters.command()
@click.argument("letter_id")
@click.pass_obj
def drop(where: Any, letter_id: str) -> None:
    """Forget one."""

    async def work(bus: Any) -> None:
        await bus.dead_letters.drop(letter_id)
        click.echo(f"{letter_id} is forgotten")

    _with_bus(where, work)


def _revive(where: Any, workflow_id: str, state: str) -> None:
    async def work(database: "Database", config: "Config") -> None:
        from nova_async.db import workflows

        async with database.connection() as conn:
            row = await workflows.revive(conn, workflow_id, state)
        click.echo(f"{workflow_id} runs again from {row.step}" if row else f"{workflow_id} has not failed")

    _with_database(where, work)


def _config(where: Any) -> "Config":
    from nova_async.config import load

    path, state_dir = where
    config = load(path)
    if path is None or state_dir is not None:
        config.state_dir = str((state_dir or Path(DEFAULT_STATE)).expanduser())
    return config


def _url(config: "Config") -> str:
    from nova_async.db.embedded import EmbeddedPostgres
    from nova_async.world import RealWorld

    return config.database.url or EmbeddedPostgres(config.state / "postgres", RealWorld()).url


def _with_database(where: Any, work: Callable[["Database", "Config"], Awaitable[None]]) -> None:
    from nova_async.cli.running import run
    from nova_async.db import Database

    async def connected(_: asyncio.Event) -> None:
        config = _config(where)
        database = await Database.connect(_url(config), size=2)
        try:
            await work(database, config)
        finally:
            await database.close()

    run(connected)


def _with_authority(where: Any, work: Callable[["Authority"], Awaitable[None]]) -> None:
    async def opened(database: "Database", config: "Config") -> None:
        from nova_async.certs.authority import Authority
        from nova_async.certs.broker import accounts
        from nova_async.world import RealWorld

        world = RealWorld()
        await work(await Authority.open(config, world, database, accounts(config, world)))

    _with_database(where, opened)


def _with_bus(where: Any, work: Callable[[Any], Awaitable[None]]) -> None:
    from nova_async.bus.connect import connect
    from nova_async.cli.running import run
    from nova_async.errors import Invalid
    from nova_async.world import RealWorld

    async def connected(_: asyncio.Event) -> None:
        config = _config(where)
        if not config.bus.url:
            raise Invalid("The all-in-one's messages never leave its process; name a cluster's configuration with --config.")
        bus = await connect(config.bus, RealWorld())
        try:
            await work(bus)
        finally:
            await bus.close()

    run(connected)


def _line(row: "WorkflowRow") -> list[str]:
    return [row.id, row.kind, row.subject_id, row.state, row.step or "", str(row.attempt), row.created_at.isoformat(timespec="seconds")]


def _event(event: dict[str, Any]) -> list[str]:
    times = [str(event.get(k, ""))[:23] for k in ("start_time", "finish_time")]
    return [event.get("event", ""), event.get("result", ""), event.get("host", ""), *times, event.get("message", "")]


def _table(names: list[str], rows: list[list[str]]) -> None:
    widths = [max([len(n), *(len(r[i]) for r in rows)]) for i, n in enumerate(names)]
    for row in [names, *rows]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
