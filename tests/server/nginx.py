"""nginx with the settings of compose.yaml and of the chart, on loopback: what it meant by all that its callers sent, and what the sidecar saw of it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import signal
import socket
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from service.demo.ports import free_ports
from service.server.intake import Patience
from service.server.listener import Listener
from tests.meanwhile import eventually

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

# Long enough that nginx mostly reads the head alone.
PAUSE_SECONDS = 0.1
ROOT = Path(__file__).resolve().parents[2]
CHART_SITE = re.compile(r'define "sidecar.nginx" -}}\n(.*?){{- end -}}', re.DOTALL)
CHART_CHOICE = re.compile(r"{{- if .*?{{- end }}", re.DOTALL)
# nginx' own word on each request. It ends what never comes to an end, so that callers need not.
WORD = """
    log_format meant escape=json '{"caller": "$remote_addr", "method": "$request_method", "uri": "$request_uri", "host": "$http_host", "body": "$request_body", "answered": "$upstream_status"}';
    access_log FOLDER/meant.log meant;
    client_header_timeout 2s;
    client_body_timeout 2s;
    keepalive_timeout 2s;
"""


class Asked(NamedTuple):
    """One request. body: None where nginx does not say, because it passes bodies on as they come."""

    method: str
    uri: str
    host: str
    body: str | None


@dataclasses.dataclass(frozen=True)
class Outcome:
    """
    What came of one caller's bytes.

    meant: what nginx passed on and got a 200 for. refused: the statuses of what the sidecar refused. seen: what the application got.
    """

    meant: list[Asked]
    refused: list[str]
    seen: list[Asked]

    def is_agreed(self) -> bool:
        """Say whether the application got just what nginx meant."""
        return len(self.meant) == len(self.seen) and all(meant in (saw, saw._replace(body=None)) for meant, saw in zip(self.meant, self.seen, strict=True))


@dataclasses.dataclass(frozen=True)
class Played:
    """What came of each text, sent whole and in two pieces, and how many requests the sidecar refused, whoever sent them."""

    outcomes: Mapping[tuple[str, bool], Outcome]
    refused: int


class Seen:
    """An application that remembers what each caller of the proxy asked for."""

    def __init__(self) -> None:
        self.by_caller: dict[str, list[Asked]] = defaultdict(list)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        body = environ["wsgi.input"].read().decode("latin-1")
        asked = Asked(environ["REQUEST_METHOD"], environ["REQUEST_URI"], environ.get("HTTP_HOST", ""), body)
        self.by_caller[environ["HTTP_X_FORWARDED_FOR"]].append(asked)
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]


def compose_site(folder: Path, port: int, upstream: int, pair: Path | None = None, clients: Path | None = None, sockets: int = 0) -> str:
    """
    Return compose.yaml's nginx.conf with its ports and folders moved; what it includes is in *folder* then, and its log goes there, to `access.log`.

    sockets: the port of websockets; 0: nobody asks for one. pair: a file with the certificate and its key; without one it speaks no TLS. clients: the certificate of who signs those of callers, who have to show one then.
    """
    own = "mtls.conf" if clients else "tls.conf"
    names = (own, "common.conf", "sidecars.conf", "jobs-shared.conf")
    site, common, sidecars, jobs = ((ROOT / "config" / "nginx" / name).read_text(encoding="utf-8") for name in names)
    site = site.replace("/run/secrets/tls-client-ca", str(clients)).replace("/run/proxy-secret", str(folder / "proxy-secret"))
    ports = {f"127.0.0.1:{ours}": f"127.0.0.1:{upstream}" for ours in (8001, 8002)}
    moved = {"/tmp/": f"{folder}/", "/etc/nginx/": f"{folder}/", "/dev/stdout": f"{folder}/access.log"}
    upstreams = {**ports, **{f"127.0.0.1:{ours}": f"127.0.0.1:{sockets or upstream}" for ours in (8003, 8004)}}
    (folder / "common.conf").write_text(_moved(common, moved))
    (folder / "sidecars.conf").write_text(_moved(sidecars, upstreams))
    (folder / "jobs.conf").write_text(_moved(jobs, ports))
    site = site if pair else re.sub(r"\n *ssl_certificate.*", "", site)
    listens = "listen 8443" if pair else "listen 8443 ssl"
    site = _moved(site, {"pid /tmp/": f"pid {folder}/", "/etc/nginx/common.conf": f"{folder}/common.conf", listens: f"listen 127.0.0.1:{port}"})
    return re.sub(r"/run/secrets/tls-\w+", str(pair), site)


def chart_site(folder: Path, port: int, upstream: int, sockets: int = 0) -> str:
    """Return the chart's nginx.conf, without TLS, with its ports and folders moved."""
    found = CHART_SITE.search((ROOT / "helm" / "salt-sidecar" / "templates" / "_config.tpl").read_text(encoding="utf-8"))
    assert found
    site = re.sub(r"\n *ssl_certificate.*", "", CHART_CHOICE.sub("", found[1]))
    changes = {
        "{{ .Values.tls.port }} ssl": f"127.0.0.1:{port}",
        '{{ include "sidecar.apiPort" . }}': str(upstream),
        '{{ include "sidecar.websocketPort" . }}': str(sockets or upstream),
        '{{ include "sidecar.rootPrefix" . }}': "",
        "access_log off;": "",
    }
    return _moved(site, {"/tmp/": f"{folder}/", **changes})


# By name; each takes a folder, its own port, the API's and, as `sockets`, the one of websockets.
SITES: Mapping[str, Callable[..., str]] = {"compose": compose_site, "chart": chart_site}


def _moved(text: str, changes: Mapping[str, str]) -> str:
    for before, after in changes.items():
        assert before in text
        text = text.replace(before, after)
    return text


def play(program: str, folder: Path, site: str, texts: Iterable[str]) -> Played:
    """
    Send each text through nginx until nginx hangs up: whole, and its head before the rest, from addresses of their own.

    nginx passes chunks on as chunks only when they come after the head. site: `compose` or `chart`.
    """
    seen, refused = Seen(), list[str]()
    listener = Listener(
        seen,
        name="api",
        host="127.0.0.1",
        port=0,
        threads=4,
        connection_limit=1000,
        body_limit_bytes=100_000,
        patience=Patience(30.0),
        on_rejected=refused.append,
    )
    listener.start()
    (port,) = free_ports(1)
    config = SITES[site](folder, port, listener.port)
    (folder / "nginx.conf").write_text(_moved(config, {"http {": "http {" + WORD.replace("FOLDER", str(folder))}))
    callers = {f"127.{1 + in_pieces}.{number // 200}.{number % 200 + 1}": (text, in_pieces) for number, text in enumerate(texts) for in_pieces in (False, True)}
    with running(program, folder, port), ThreadPoolExecutor(100) as pool:
        list(pool.map(lambda caller: _send(port, caller, *callers[caller]), callers))
    listener.stop()
    said = [json.loads(line) for line in (folder / "meant.log").read_bytes().decode("latin-1").rstrip("\n").split("\n")]
    found = {sent: _outcome([one for one in said if one["caller"] == caller], seen.by_caller[caller], site) for caller, sent in callers.items()}
    return Played(found, len(refused))


@contextlib.contextmanager
def running(program: str, folder: Path, port: int) -> Iterator[None]:
    """Run nginx with the `nginx.conf` of a folder. At the end its workers stay until all their connections are over, so that every request is in the log."""
    command: list[str | Path] = [program, "-p", folder, "-e", folder / "error.log", "-c", folder / "nginx.conf"]
    command += ["-g", f"daemon off;{' user root;' if os.getuid() == 0 else ''}"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as nginx:
        try:
            assert eventually(lambda: _takes_callers(port)), (folder / "error.log").read_text()
            yield
        finally:
            nginx.send_signal(signal.SIGQUIT)
            nginx.wait(60)


def _outcome(said: list[dict[str, str]], seen: list[Asked], site: str) -> Outcome:
    # It says `?a` where it asks for `/?a`, of a URL without a path.
    meant = [
        Asked(one["method"], one["uri"].replace("?", "/?", one["uri"].startswith("?")), one["host"], one["body"] if site == "compose" else None)
        for one in said
        if one["answered"] == "200"
    ]
    return Outcome(meant, [one["answered"] for one in said if one["answered"] not in {"200", "", "-"}], seen)


def _takes_callers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True


def _send(port: int, caller: str, text: str, in_pieces: bool) -> None:
    head, end, rest = text.partition("\r\n\r\n")
    with socket.create_connection(("127.0.0.1", port), timeout=60, source_address=(caller, 0)) as connection:
        try:
            connection.sendall((head + end).encode("latin-1"))
            if in_pieces:
                time.sleep(PAUSE_SECONDS)
            connection.sendall(rest.encode("latin-1"))
            while connection.recv(65_536):
                pass
        except ConnectionError:
            pass  # refused before the last byte was sent
