"""A MariaDB of the services' own, reached through a socket: SQLite lets one writer wait for another in vain."""

import subprocess
import time

from tests.openstack.programs import Programs

READY_SECONDS = 60


class MariaDB:
    """``url`` names a database, which ``make`` has made."""

    def __init__(self, programs: Programs) -> None:
        self.programs = programs
        self.folder = programs.folder / "mariadb"
        self.socket = self.folder / "socket"

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        data = self.folder / "data"
        common = ("--no-defaults", "--user=root", f"--datadir={data}")
        self.programs.run("mariadb-install-db", *common, "--auth-root-authentication-method=normal")
        swift = ("--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0", "--innodb-flush-method=nosync")  # it need not survive
        self.programs.start("mariadb", "mariadbd", *common, f"--socket={self.socket}", "--skip-networking", *swift)
        end = time.monotonic() + READY_SECONDS
        while not self._told("SELECT 1"):
            assert time.monotonic() < end, "MariaDB does not start"
            time.sleep(0.2)

    def make(self, name: str) -> str:
        """The URL of a new database."""
        assert self._told(f"CREATE DATABASE {name} CHARACTER SET utf8mb3")
        return f"mysql+pymysql://root@localhost/{name}?unix_socket={self.socket}"

    def _told(self, statement: str) -> bool:
        command = ("mariadb", "--no-defaults", f"--socket={self.socket}", "--user=root", "-e", statement)
        return subprocess.run(command, capture_output=True, timeout=60, check=False, stdin=subprocess.DEVNULL).returncode == 0
