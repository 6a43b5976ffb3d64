"""``nova-async serve`` and ``nova-async compute``: the parts of a cluster, for systemd or by hand."""

import asyncio
import os
from pathlib import Path
from typing import Any

import click

CONFIG = click.option(
    "--config", "path", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True, help="The configuration file (TOML)."
)


@click.command()
@CONFIG
@click.option("--listen", metavar="ADDR:PORT", help="Overrides api.listen, or with --only console console.listen.")
@click.option("--only", type=click.Choice(["console"]), help="Nothing but consoles: their pages and WebSockets.")
def serve(path: Path, listen: str | None, only: str | None) -> None:
    """Run the application of a cluster: API, services, scheduler, conductor and consoles."""
    part = only or "app"
    _serve(path, part, {f"{'api' if part == 'app' else part}__listen": listen} if listen else {})


@click.command()
@CONFIG
@click.option("--host", metavar="NAME", help="Overrides compute.host.")
def compute(path: Path, host: str | None) -> None:
    """Run the worker of this hypervisor host. Guests live on when it stops."""
    _serve(path, "compute", {"compute__host": host} if host else {})


def _serve(path: Path, part: str, overrides: dict[str, Any]) -> None:
    from nova_async import app, log, state_folder
    from nova_async.cli.running import run_or_refuse, run_service, serve_until
    from nova_async.config import Config, load
    from nova_async.world import RealWorld

    def read() -> Config:
        return load(path, os.environ, **overrides)

    config = run_or_refuse(read)
    if not config.bus.url or (part != "compute" and not config.database.url):
        raise click.UsageError(f"A cluster's parts meet on RabbitMQ and PostgreSQL: {path} must set bus.url and, for serve, database.url.")
    run_or_refuse(lambda: state_folder.close(config))
    log.configure(config.log.level, config.log.form)

    async def work(stop: asyncio.Event) -> None:
        async with app.running(config, RealWorld(), parts=frozenset({part})) as running:
            where = {"app": config.public_url, "console": config.console_url}
            print(f"ready {where.get(part) or running.workers[0].host}", flush=True)
            await serve_until(running, stop, read)

    run_service(work)
