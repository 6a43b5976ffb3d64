"""Programs of the services' own environment, in the host's network namespace, with their files in one folder."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
TOOLS = REPOSITORY / ".venv-openstack" / "bin"
SERVE = Path(__file__).parent / "serve.py"
READY_SECONDS, STOP_SECONDS = 180, 20


class Programs:
    """``prefix`` is put before each command (another network namespace, say); ``folder`` holds logs and files."""

    def __init__(self, folder: Path, address: str, prefix: tuple[str, ...] = ()) -> None:
        self.folder, self.address, self.prefix = folder, address, prefix
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def run(self, *command: str, **environment: str) -> None:
        """A command that must succeed."""
        done = subprocess.run(
            [*self.prefix, program(command[0]), *command[1:]],
            env=self._environment(environment),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=300,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, (command, done.stdout[-2000:], done.stderr[-2000:])

    def start(self, name: str, *command: str, port: int | None = None, **environment: str) -> None:
        """A program that stays; returns once it listens on its port."""
        with (self.folder / f"{name}.out").open("ab") as output:
            self.running[name] = subprocess.Popen(
                [*self.prefix, program(command[0]), *command[1:]],
                env=self._environment(environment),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        if port is not None:
            self._until_it_listens(name, port)

    def serve(self, name: str, application: str, port: int, **environment: str) -> None:
        """An API: ``application`` is ``module:function``."""
        self.start(name, "python", "-P", str(SERVE), application, self.address, str(port), port=port, **environment)

    def stop(self, name: str) -> None:
        program = self.running.pop(name)
        program.terminate()
        try:
            program.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            program.kill()
            program.wait()

    def close(self) -> None:
        """End all, and what they started in namespaces of their own: it names our folder."""
        for name in reversed(list(self.running)):
            self.stop(name)
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if str(self.folder).encode() in path.read_bytes():
                    os.kill(int(path.parent.name), signal.SIGKILL)

    def write(self, name: str, sections: dict[str, dict[str, object]]) -> Path:
        """A configuration file in the form of oslo.config."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [line for section, options in sections.items() for line in (f"[{section}]", *(f"{k} = {v}" for k, v in options.items()))]
        path.write_text("\n".join(lines) + "\n")
        return path

    def _environment(self, more: dict[str, str]) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("NOVA_ASYNC_", "OS_"))}
        path = f"{TOOLS}:{os.environ['PATH']}:/usr/sbin:/sbin"
        return kept | {"PATH": path, "PYTHONWARNINGS": "ignore", "PYTHONUNBUFFERED": "1", "HOME": str(self.folder)} | more

    def _until_it_listens(self, name: str, port: int) -> None:
        end = time.monotonic() + READY_SECONDS
        while True:
            try:
                socket.create_connection((self.address, port), 1).close()
                return
            except OSError:
                output = (self.folder / f"{name}.out").read_text(errors="replace")[-3000:]
                assert self.running[name].poll() is None, f"{name} ended: {output}"
                assert time.monotonic() < end, f"{name} does not answer: {output}"
                time.sleep(0.1)


def program(name: str) -> str:
    """Of the services' own environment, or else of the system."""
    own = TOOLS / name
    return str(own) if own.exists() else name
