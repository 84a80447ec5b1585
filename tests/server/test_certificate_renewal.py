"""The real nginx, started by config/nginx/serve-tls.sh: a renewed certificate counts without a restart, and one that does not fit its key changes nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.demo.ports import free_ports
from tests.certificates import Authority, Signed
from tests.meanwhile import eventually
from tests.server.nginx import ROOT, compose_site

pytestmark = pytest.mark.slow

SAID = "stderr"
SCRIPT = ROOT / "config" / "nginx" / "serve-tls.sh"
FIRST, SECOND, THIRD = (Authority().sign("sidecar") for _ in range(3))


class Volume:
    """A Secret's volume: files are in a folder with a date, and a symlink says which folder counts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.file = folder / "..data" / "pair.pem"
        self._dates = 0

    def put(self, certificate: Signed, key: Signed) -> None:
        """Replace certificate and key in one step."""
        self._dates += 1
        dated = self._folder / f"..{self._dates}"
        dated.mkdir(parents=True)
        shown, secret = certificate.write(dated, "shown")[0], key.write(dated, "secret")[1]
        (dated / "pair.pem").write_bytes(shown.read_bytes() + secret.read_bytes())
        (self._folder / "..new").symlink_to(dated.name)
        (self._folder / "..new").rename(self._folder / "..data")


def shown(port: int) -> bytes:
    """Return the certificate that nginx shows to a new caller; nothing when it does not listen yet."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as plain, context.wrap_socket(plain) as connection:
            return connection.getpeercert(binary_form=True) or b""
    except ConnectionRefusedError:
        return b""


@contextlib.contextmanager
def serving(program: str, folder: Path, volume: Volume) -> Iterator[int]:
    """Run nginx by the script; yields its port."""
    (port,) = free_ports(1)
    site = folder / "nginx.conf"
    site.write_text(compose_site(folder, port, 1, volume.file))
    environ = {"PATH": f"{Path(program).parent}:/usr/bin:/bin", "TLS_RELOAD_SECONDS": "0.1"}
    # In a session of its own, as in a container: what the script leaves behind ends with nginx.
    with (folder / SAID).open("wb") as said, subprocess.Popen(["sh", SCRIPT, site, volume.file], env=environ, start_new_session=True, stderr=said) as nginx:
        try:
            yield port
        finally:
            os.killpg(nginx.pid, signal.SIGKILL)


def test_a_renewed_certificate_counts_without_a_restart_and_one_that_does_not_fit_changes_nothing(tmp_path: Path, program: Callable[[str, str], str]) -> None:
    volume = Volume(tmp_path / "tls")
    volume.put(FIRST, FIRST)
    with serving(program("nginx", "nginx-light"), tmp_path, volume) as port:
        assert eventually(lambda: shown(port) == FIRST.der), (tmp_path / SAID).read_text()

        volume.put(SECOND, SECOND)
        assert eventually(lambda: shown(port) == SECOND.der)

        volume.put(THIRD, FIRST)
        assert eventually(lambda: "key values mismatch" in (tmp_path / SAID).read_text())
        assert shown(port) == SECOND.der

        volume.put(THIRD, THIRD)
        assert eventually(lambda: shown(port) == THIRD.der)
