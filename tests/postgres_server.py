"""A PostgreSQL server of the tests' own, on loopback, which any user may start: Debian's program, without its service."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import psycopg
from psycopg import sql

from service.demo.embedded import until
from service.demo.ports import free_ports
from service.demo.processes import WhileNeeded

START_SECONDS = 60.0
USER = "sidecar"


class PostgresServer(WhileNeeded):
    """
    One server for a run of the tests. programs: the folder with `initdb` and `postgres`, which root may not run: then `nobody` does.

    password: that of its one user, over TCP; the socket in `folder` asks for none.
    """

    def __init__(self, programs: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pg-"))  # Not pytest's folder: `nobody` could not get into that.
        self.password = secrets.token_hex(8)
        self.port = 0
        self._programs = programs
        self._user = "nobody" if os.geteuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None

    def get_ready(self) -> None:
        """Make the server's files, and start it."""
        secret = self.folder / "password"
        secret.write_text(self.password)
        if self._user is not None:
            entry = pwd.getpwnam(self._user)
            for path in (self.folder, secret):
                os.chown(path, entry.pw_uid, entry.pw_gid)
        access = ["--auth-local=trust", "--auth-host=scram-sha-256", f"--username={USER}", f"--pwfile={secret}"]
        initdb: list[str | Path] = [self._programs / "initdb", "--no-sync", "--no-locale", "--encoding=UTF8", *access, self.folder / "data"]
        subprocess.run(initdb, user=self._user, cwd=self.folder, check=True, capture_output=True, timeout=START_SECONDS * 2)
        # Only now: to make the files takes seconds, in which another could take the port.
        (self.port,) = free_ports(1)
        self.start()

    def start(self) -> None:
        """Start the server, and return when it answers."""
        options = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": self.folder, "fsync": "off"}
        command: list[str | Path] = [self._programs / "postgres", "-D", self.folder / "data", *(f"--{name}={value}" for name, value in options.items())]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, user=self._user, cwd=self.folder, stdout=log, stderr=log)
        for _ in until(START_SECONDS):
            try:
                self.admin("SELECT 1")
            except psycopg.OperationalError:
                if self._process.poll() is None:
                    continue
                break
            return
        raise AssertionError((self.folder / "log").read_text())

    def freeze(self) -> None:
        """Stop all of the server in its tracks: its sockets stay open, and nothing is answered."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        pid = self._process.pid
        # First the one that starts the others, each of which has a session of its own.
        os.kill(pid, number)
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            os.kill(int(child), number)

    def end(self) -> None:
        """End the server at once, whoever is connected, as if its machine had failed."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(START_SECONDS)
            self._process = None

    def stop(self) -> None:
        """End it, and leave nothing behind."""
        self.end()
        shutil.rmtree(self.folder)

    def new_database(self) -> str:
        """Make an empty database; return its URL."""
        name = f"jobs_{secrets.token_hex(4)}"
        self.admin(f"CREATE DATABASE {name}")
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{name}"

    def connected(self, database: str) -> psycopg.Connection[tuple[object, ...]]:
        """Connect as the one user, by the socket."""
        return psycopg.connect(f"host={self.folder} port={self.port} user={USER} dbname={database}", autocommit=True)

    def admin(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run one statement; return its rows."""
        with self.connected(database) as db:
            cursor = db.execute(sql.SQL(statement))
            return cursor.fetchall() if cursor.description else []
