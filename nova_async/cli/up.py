"""``nova-async up``: the whole cloud on this machine, with a first guest in it."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from nova_async.app import App
    from nova_async.cli.progress import Progress
    from nova_async.config import Config

DEFAULT_STATE = "~/.local/share/nova-async"
ONE_HOST: dict[str, dict[str, Any]] = {"compute": {"allow_resize_to_same_host": True}}  # there is no other to be resized to


@click.command()
@click.option("--config", "path", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A configuration file (TOML).")
@click.option("--state-dir", type=click.Path(file_okay=False, path_type=Path), help=f"Where everything is kept. [default: {DEFAULT_STATE}]")
@click.option("--listen", metavar="ADDR:PORT", help="Where the API answers. [default: 127.0.0.1:8774]")
@click.option("--virt", type=click.Choice(["libvirt", "fake", "test", "ironic"]), help="What runs the guests. [default: libvirt]")
@click.option("--hosts", type=click.IntRange(1, 100_000), help="How many fake hosts. [default: 1]")
@click.option("--no-first-guest", is_flag=True, help="Do not boot a first server.")
@click.option("--log-file", type=click.Path(dir_okay=False, path_type=Path), help="[default: <state-dir>/nova-async.log]")
def up(
    path: Path | None,
    state_dir: Path | None,
    listen: str | None,
    virt: str | None,
    hosts: int | None,
    no_first_guest: bool,
    log_file: Path | None,
) -> None:
    """Run a whole cloud on this machine until Ctrl-C. Guests live on and are found again at the next start."""
    from nova_async.cli.running import run_or_refuse, run_service
    from nova_async.config import load

    told = {"api__listen": listen, "compute__driver": virt, "compute__fake_hosts": hosts}
    overrides: dict[str, Any] = {name: value for name, value in told.items() if value is not None}

    def read() -> "Config":
        return load(path, defaults={} if hosts else ONE_HOST, **overrides)

    config = run_or_refuse(read)
    config.state_dir = str((state_dir or Path(DEFAULT_STATE if config.state_dir == "var" else config.state_dir)).expanduser())
    if config.compute.fake_hosts > 1 and config.compute.driver != "fake":
        raise click.UsageError("--hosts needs --virt fake: this machine is one libvirt host.")

    async def work(stop: asyncio.Event) -> None:
        await _up(config, read, stop, first_guest=not no_first_guest, log_file=log_file or config.state / "nova-async.log")

    run_service(work)


async def _up(config: "Config", read: Callable[[], "Config"], stop: asyncio.Event, *, first_guest: bool, log_file: Path) -> None:
    from nova_async import log, state_folder
    from nova_async.all_in_one import serving
    from nova_async.cli.clouds import write_clouds
    from nova_async.cli.progress import Progress
    from nova_async.cli.running import serve_until
    from nova_async.config import Services
    from nova_async.world import RealWorld

    say, world = Progress(), RealWorld()
    await asyncio.to_thread(state_folder.close, config)
    with await asyncio.to_thread(open, log_file, "a", 1) as stream:
        log.configure(config.log.level, config.log.form, stream)
        say(f"starting in {config.state} (log: {log_file})")
        async with serving(config, world, say) as running:
            if config.compute.driver != "libvirt" and running.builtin_images:
                await running.builtin_images.ensure_blank(_service(world))
            root = running.certificates.root
            clouds = await asyncio.to_thread(write_clouds, config.state, running.secrets, root) if running.secrets else None
            click.echo(f"ready {config.public_url}")
            if clouds:
                say(f"use it:  export OS_CLIENT_CONFIG_FILE={clouds}")
                say("         openstack --os-cloud nova-async server list      (and --os-cloud nova-async-admin)")
            else:
                say(f"log in at {config.identity.url}; its catalog should have this compute service: {config.public_url}/compute/v2.1")
            wanted = first_guest and config.services == Services()  # who leans on real services has images and networks of his own
            guest = asyncio.create_task(_first_guest(running, config, say), name="first-guest") if wanted else None
            try:
                await serve_until(running, stop, read)
            finally:
                if guest is not None:
                    guest.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await guest
            say("stopping; guests live on")
    say("stopped")


async def _first_guest(running: "App", config: "Config", say: "Progress") -> None:
    from nova_async.cli.first_guest import boot_first_guest
    from nova_async.errors import Error

    try:
        await boot_first_guest(running, config, say)
    except Error as error:
        say(f"the first guest failed: {error.message}" + (f" [{error.detail}]" if error.detail else ""))


def _service(world: Any) -> Any:
    from nova_async.context import service_context

    return service_context("req-" + world.uuid())
