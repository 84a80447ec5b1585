"""An OpenSSH server of the tests' own, on loopback: Debian's program, without its service, with keys and a port of its own, for the user who runs the tests."""

from __future__ import annotations

import getpass
import os
import signal
import socket
import subprocess
from pathlib import Path

from service.demo.embedded import until
from service.demo.ports import free_ports
from service.demo.processes import WhileNeeded

START_SECONDS = 60.0
# Without this folder a server of root's does not start; on Debian its service makes it.
SEPARATED = Path("/run/sshd")
CONFIG = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
Subsystem sftp internal-sftp
LogLevel VERBOSE
"""


class SshServer(WhileNeeded):
    """
    One server. program: `sshd`, with its whole path, as it wants to be called.

    key: lets its user in. foreign_key: does not. known_hosts: names the server's own key.
    """

    def __init__(self, program: str, folder: Path) -> None:
        self.folder = folder
        self.user = getpass.getuser()
        self.key, self.foreign_key = folder / "key", folder / "foreign_key"
        self.known_hosts = folder / "known_hosts"
        self.port = 0
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None

    def get_ready(self) -> None:
        """Make the keys, start the server, and return when it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for key in (self.key, self.foreign_key, self.folder / "host_key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True, timeout=START_SECONDS)
        if os.geteuid() == 0:
            SEPARATED.mkdir(mode=0o755, exist_ok=True)
        (self.folder / "authorized_keys").write_text(self.key.with_suffix(".pub").read_text())
        (self.port,) = free_ports(1)
        (self.folder / "config").write_text(CONFIG.format(port=self.port, folder=self.folder))
        kind, host_key = (self.folder / "host_key.pub").read_text().split()[:2]
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {kind} {host_key}\n")
        self._process = subprocess.Popen([self._program, "-D", "-f", self.folder / "config", "-E", self.folder / "log"], stdin=subprocess.DEVNULL)
        for _ in until(START_SECONDS):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
        raise AssertionError((self.folder / "log").read_text())

    def stop(self) -> None:
        """End the server; what runs over its connections goes on."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(START_SECONDS)
            self._process = None

    @property
    def logins(self) -> int:
        """How often somebody got in."""
        return (self.folder / "log").read_text().count("Accepted publickey")

    def host(self, name: str, path: str, *, key: Path | None = None, port: int | None = None) -> dict[str, object]:
        """Return what a roster says of a host on this server. name: its id. path: where it finds programs. key, port: others than those that work."""
        thin = str(self.folder / f"thin-{name}")
        return {
            "host": "127.0.0.1",
            "port": port or self.port,
            "user": self.user,
            "priv": str(key or self.key),
            "thin_dir": thin,
            "set_path": path,
            "timeout": 10,
        }
