"""The ``nova-async`` command. Each subcommand imports what it needs when it runs, so that ``--help`` is instant."""

import click


class Lazy(click.Group):
    """A group whose commands are loaded when they are called: name -> (module:attribute, short help)."""

    def __init__(self, *args: object, commands_at: dict[str, tuple[str, str]], **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.commands_at = commands_at

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self.commands_at)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self.commands_at:
            return None
        from importlib import import_module

        module, _, attribute = self.commands_at[name][0].partition(":")
        return getattr(import_module(module), attribute)  # type: ignore[no-any-return]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, self.commands_at[name][1]) for name in self.list_commands(ctx)])


COMMANDS = {
    "up": ("nova_async.cli.up:up", "Run a whole cloud on this machine until Ctrl-C."),
    "serve": ("nova_async.cli.serve:serve", "Run the application of a cluster: API, services, scheduler, conductor."),
    "compute": ("nova_async.cli.serve:compute", "Run the worker of this hypervisor host."),
    "enrol": ("nova_async.cli.enrol:enrol", "Get this hypervisor host's first certificate."),
    "renew": ("nova_async.cli.enrol:renew", "Renew a certificate when it is time."),
    "explain": ("nova_async.cli.explain:explain", "Say why a server is where it is, or nowhere."),
    "admin": ("nova_async.cli.admin:admin", "Look into a cloud and mend it."),
}


@click.group(cls=Lazy, commands_at=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="nova_async", prog_name="nova-async")
def main() -> None:
    """A compute service for clouds that speaks OpenStack Nova's API."""
