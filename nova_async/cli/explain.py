"""``nova-async explain SERVER``: the scheduling decisions of a server, over the public API."""

import asyncio
import os
from pathlib import Path
from typing import Any

import click

DEFAULT_STATE = "~/.local/share/nova-async"


@click.command()
@click.argument("server")
@click.option("--state-dir", type=click.Path(file_okay=False, path_type=Path), help=f"The all-in-one's state. [default: {DEFAULT_STATE}]")
@click.option("--os-cloud", default="nova-async-admin", show_default=True, help="The cloud of clouds.yaml to ask as.")
def explain(server: str, state_dir: Path | None, os_cloud: str) -> None:
    """Say why SERVER (name or id) is where it is, or nowhere: every filter's reason, host by host.

    Reads clouds.yaml from --state-dir, else the file that OS_CLIENT_CONFIG_FILE names. Needs an admin's cloud.
    """
    from nova_async.cli.running import run

    told = os.environ.get("OS_CLIENT_CONFIG_FILE")
    path = Path(told) if told and state_dir is None else (state_dir or Path(DEFAULT_STATE)).expanduser() / "clouds.yaml"

    async def work(_: asyncio.Event) -> None:
        from nova_async.cli.clouds import client_of

        async with client_of(path, os_cloud) as admin:
            found = await _find(admin, server)
            decisions = (await admin.ask("GET", f"/compute/v2.1/servers/{found['id']}/scheduling"))["scheduling"]
        _tell(found, decisions)

    run(work)


async def _find(admin: Any, server: str) -> Any:
    from urllib.parse import quote
    from uuid import UUID

    from nova_async.errors import Error

    try:
        return (await admin.ask("GET", f"/compute/v2.1/servers/{UUID(server)}"))["server"]
    except ValueError:
        path = f"/compute/v2.1/servers/detail?all_tenants=1&name={quote(server)}"
        found = [s for s in (await admin.ask("GET", path))["servers"] if s["name"] == server]
    if len(found) != 1:
        raise Error(f"{len(found)} servers are named {server!r}" + ("; name one by its id." if found else "."))
    return found[0]


def _tell(server: Any, decisions: list[Any]) -> None:
    click.echo(
        f"{server['name']} ({server['id']}) is {server['status']}" + (f" on {h}" if (h := server.get("OS-EXT-SRV-ATTR:host")) else "")
    )
    if server.get("fault"):
        click.echo(f"fault: {server['fault']['message']}")
    for decision in decisions:
        taken = f"{decision['host']} was taken" if decision["host"] else "no host was taken"
        moved = f" from {decision['from']}" if decision["from"] else ""
        click.echo(
            f"\n{decision['action']}{moved} at {decision['created_at']} ({decision['request_id']}): {taken}, of {decision['hosts']} hosts"
        )
        for candidate in decision["candidates"]:
            click.echo(f"  fits     {candidate['host']:<24} weight {candidate['weight']:g}")
        for refusal in decision["refusals"]:
            click.echo(f"  refused  {refusal['host']:<24} {refusal['filter']}: {refusal['reason']}")
            for other in refusal["others"]:
                click.echo(f"  {'and':>32}  {other['filter']}: {other['reason']}")
        untold = sum(decision["refused_by"].values()) - len(decision["refusals"])
        if untold > 0:
            click.echo(f"  and {untold} more: " + ", ".join(f"{name} {count}" for name, count in decision["refused_by"].items()))
        for tried in decision["tried"]:
            click.echo(f"  tried    {tried['host']:<24} {tried['reason']}")
    if not decisions:
        click.echo("no scheduling decision is known")
