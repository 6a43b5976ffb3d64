"""``nova-async enrol`` and ``nova-async renew``: a certificate for this host, and for whatever else keeps one here."""

import asyncio
import sys
from pathlib import Path

import click

from nova_async.cli.serve import CONFIG


@click.command()
@CONFIG
@click.option("--host", metavar="NAME", help="Overrides compute.host.")
@click.argument("token")
def enrol(path: Path, host: str | None, token: str) -> None:
    """Get this host's first certificate with the join TOKEN that `nova-async admin enrol-host` printed; '-' reads it from the input."""
    import socket

    from nova_async.certs.keeper import Keeper
    from nova_async.cli.running import run
    from nova_async.config import load
    from nova_async.world import RealWorld

    async def work(_: asyncio.Event) -> None:
        config = load(path)
        keeper = Keeper(config.certificate_dir, config.certs_url, RealWorld())
        text = await asyncio.to_thread(sys.stdin.readline) if token == "-" else token
        await keeper.enrol(host or config.compute.host or socket.gethostname(), text)
        click.echo(f"the certificate is in {config.certificate_dir}; set bus.tls = true to use it")

    run(work)


@click.command()
@click.option("--directory", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True, help="Where the certificate is.")
@click.option("--url", required=True, help="Of the authority: <the API's address>/certs.")
@click.option("--force", is_flag=True, help="Even when it is not time yet.")
def renew(directory: Path, url: str, force: bool) -> None:
    """Renew a certificate when it is time, and fetch the list of revoked ones: for a timer beside a service such as RabbitMQ."""
    from nova_async.certs.keeper import Keeper
    from nova_async.cli.running import run
    from nova_async.world import RealWorld

    async def work(_: asyncio.Event) -> None:
        keeper = Keeper(directory, url, RealWorld())
        due = force or await keeper.is_due()
        if due:
            await keeper.renew()
        await keeper.fetch_revoked()
        click.echo("renewed" if due else "it is not time yet")

    run(work)
