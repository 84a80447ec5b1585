"""The chart's nginx.conf in a real nginx: what the sidecar hears of a caller is nginx' word, whatever the caller writes."""

from __future__ import annotations

import base64
import json
import os
import socket
import ssl
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.helm.rendering import NAMESPACE, RELEASE, ci, render
from tests.installed import where

SECRET = "what nginx knows"
FORGED = {"X-Client-Cert": "somebody", "X-Proxy-Secret": "a guess"}


class Echo(BaseHTTPRequestHandler):
    """Stands for the sidecar: answers with the headers that it got."""

    def do_GET(self) -> None:
        said = json.dumps(dict(self.headers)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base
        return


@contextmanager
def echoing() -> Iterator[int]:
    """Run it on a port of loopback."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.server_port
        server.shutdown()


def signed_by_itself(folder: Path, name: str, certificate: str, key: str) -> None:
    folder.mkdir()
    subject = ("-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1")
    files = ("-out", folder / certificate, "-keyout", folder / key)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject, *files], check=True, capture_output=True)


@pytest.fixture
def nginx() -> str:
    found = where("nginx")
    if found is None:
        missing = "there is no nginx: apt-get install nginx-light"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    return str(found)


@pytest.fixture
def front(nginx: str, tmp_path: Path) -> Iterator[int]:
    """Run nginx as the chart configures it, but for its folders; yields its port."""
    made = render().of("Secret")["data"]
    (tmp_path / "tls").mkdir()
    for name, text in made.items():
        (tmp_path / "tls" / name).write_bytes(base64.b64decode(text))
    signed_by_itself(tmp_path / "client-ca", "caller", "ca.crt", "ca.key")
    (tmp_path / "proxy").mkdir()
    (tmp_path / "proxy" / "header.conf").write_text(f'proxy_set_header X-Proxy-Secret "{SECRET}";\n')
    with socket.create_server(("127.0.0.1", 0)) as taken:
        front_port = taken.getsockname()[1]
    with echoing() as port:
        values = ci("identities")
        values["config"]["api"] = {"port": port}
        values["tls"]["port"] = front_port
        config = render(values).of("ConfigMap", f"{RELEASE}-salt-sidecar-nginx")["data"]["nginx.conf"]
        (tmp_path / "nginx.conf").write_text(config.replace(" /tmp/", f" {tmp_path}/").replace("/etc/nginx", str(tmp_path)))
        with subprocess.Popen([nginx, "-e", "/dev/stderr", "-c", tmp_path / "nginx.conf", "-g", "daemon off;"]) as process:
            _listens(front_port)
            yield front_port
            process.terminate()


def _listens(port: int) -> None:
    """Wait until somebody does."""
    ends = time.monotonic() + 60
    with socket.socket() as probe:
        while probe.connect_ex(("127.0.0.1", port)):
            assert time.monotonic() < ends, "nginx does not answer"
            time.sleep(0.05)


def trusting(folder: Path) -> ssl.SSLContext:
    """Trust the authority that the chart made, as strictly as RFC 5280 has it."""
    context = ssl.create_default_context(cafile=folder / "tls" / "ca.crt")
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


def heard(port: int, folder: Path, *, certified: bool) -> dict[str, str]:
    """Return the headers that come through, of a caller who writes them, too."""
    context = trusting(folder)
    if certified:
        context.load_cert_chain(folder / "client-ca" / "ca.crt", folder / "client-ca" / "ca.key")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    with opener.open(urllib.request.Request(f"https://127.0.0.1:{port}/", headers=FORGED), timeout=30) as answer:
        return {name.lower(): value for name, value in json.load(answer).items()}


def test_the_sidecar_hears_of_verified_certificates_alone(front: int, tmp_path: Path) -> None:
    certificate = (tmp_path / "client-ca" / "ca.crt").read_text()
    without, with_one = (heard(front, tmp_path, certified=certified) for certified in (False, True))

    assert ("x-client-cert" in without, urllib.parse.unquote(with_one["x-client-cert"])) == (False, certificate)
    assert {without["x-proxy-secret"], with_one["x-proxy-secret"]} == {SECRET}


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", f"{RELEASE}-salt-sidecar", f"{RELEASE}-salt-sidecar.{NAMESPACE}.svc"])
def test_who_has_the_charts_authority_believes_its_certificate_under_the_names_of_the_service(front: int, tmp_path: Path, name: str) -> None:
    with socket.create_connection(("127.0.0.1", front), timeout=30) as plain, trusting(tmp_path).wrap_socket(plain, server_hostname=name) as tls:
        assert tls.version() == "TLSv1.3"


def test_under_another_name_nobody_does(front: int, tmp_path: Path) -> None:
    with (
        socket.create_connection(("127.0.0.1", front), timeout=30) as plain,
        pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"),
        trusting(tmp_path).wrap_socket(plain, server_hostname="salt.example.org"),
    ):
        pass
