"""nginx over the sidecars of several masters, as config/compose/cluster.yaml runs it: the real nginx asks those that are ready, and one that is not is passed over."""

from __future__ import annotations

import os
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from service.demo.embedded import PATIENCE_SECONDS, until
from service.demo.ports import free_ports
from service.demo.processes import end_session
from tests.documented.shell import program as write_program

pytestmark = pytest.mark.slow

NGINX = Path(__file__).parents[2] / "config" / "nginx"
CONF = """
pid FOLDER/nginx.pid;
error_log FOLDER/error.log;
events {}
http {
    access_log off;
    client_body_temp_path FOLDER/body;
    proxy_temp_path FOLDER/proxy;
    fastcgi_temp_path FOLDER/fastcgi;
    uwsgi_temp_path FOLDER/uwsgi;
    scgi_temp_path FOLDER/scgi;
    include FOLDER/sidecars.upstream;
    server {
        listen 127.0.0.1:PORT;
        location / { proxy_pass http://sidecars; }
    }
}
"""
# The image of nginx has the program; a machine that runs tests need not.
WGET = 'exec python3 -c "import sys, urllib.request; urllib.request.urlopen(sys.argv[-1], timeout=5)" "$@"'


class Sidecar:
    """Answers with its name what it is asked, and on the same port what its probe says."""

    def __init__(self, name: str) -> None:
        self.ready = True
        sidecar = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                is_probe = self.path == "/readyz"
                self.send_response(200 if sidecar.ready or not is_probe else 503)
                self.end_headers()
                self.wfile.write(name.encode())

            def log_message(self, *_args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Front:
    """nginx over two sidecars."""

    def __init__(self, port: int, sidecars: list[Sidecar]) -> None:
        self.port = port
        self.sidecars = sidecars

    def asked(self) -> set[str]:
        """Return who answers some requests."""
        return {self._ask() for _ in range(6)}

    def _ask(self) -> str:
        try:
            return str(urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=30).read().decode())
        except (urllib.error.URLError, ConnectionError):
            return "nobody"

    def comes_to(self, expected: set[str]) -> bool:
        return any(self.asked() == expected for _ in until(PATIENCE_SECONDS))


@pytest.fixture
def front(tmp_path: Path, program: Callable[[str, str], str]) -> Iterator[Front]:
    """Run serve-ready.sh with what it needs in a folder."""
    sidecars, (port,) = [Sidecar("one"), Sidecar("two")], free_ports(1)
    listed = {"/tmp/": f"{tmp_path}/", "/etc/nginx/serve-tls.sh": str(NGINX / "serve-tls.sh")}
    for source, target in (("serve-ready.sh", "serve-ready.sh"), ("sidecars-ready.conf", "sidecars.upstream")):
        text = (NGINX / source).read_text(encoding="utf-8")
        for before, after in listed.items():
            text = text.replace(before, after)
        (tmp_path / target).write_text(text, encoding="utf-8")
    conf = tmp_path / "nginx.conf"
    conf.write_text(CONF.replace("FOLDER", str(tmp_path)).replace("PORT", str(port)), encoding="utf-8")
    write_program(tmp_path / "bin", "wget", WGET)
    write_program(tmp_path / "bin", "nginx", f'exec {program("nginx", "nginx-light")} "$@"')
    words = [f"127.0.0.1:{sidecar.port}:{sidecar.port}:{sidecar.port}" for sidecar in sidecars]
    environ = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "READY_SECONDS": "0.2", "TLS_RELOAD_SECONDS": "0.2"}
    with subprocess.Popen(["sh", tmp_path / "serve-ready.sh", *words, "--", conf], env=environ, start_new_session=True) as running:
        yield Front(port, sidecars)
        end_session(running.pid)
    for sidecar in sidecars:
        sidecar.close()


def test_who_is_not_ready_is_passed_over_until_it_is_again(front: Front) -> None:
    one, two = front.sidecars
    steps: list[tuple[Callable[[], None], set[str]]] = [
        (lambda: None, {"one", "two"}),
        (lambda: setattr(one, "ready", False), {"two"}),
        (lambda: setattr(one, "ready", True), {"one", "two"}),
        (lambda: setattr(two, "ready", False), {"one"}),
        # Each says for itself why it does not serve.
        (lambda: setattr(one, "ready", False), {"one", "two"}),
    ]
    for change, expected in steps:
        change()

        assert front.comes_to(expected), expected
