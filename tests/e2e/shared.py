"""config/compose/database.yaml and notify.yaml, with identities.yaml, on the running stack: two sidecars with one store, nginx in front of both, and notices that arrive."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.e2e import identified, standins
from tests.e2e.images import ROOT
from tests.e2e.load import Api
from tests.e2e.report import Report
from tests.e2e.shell import eventually, require
from tests.e2e.stack import Stack

PATIENCE_SECONDS = 180.0
FILES = ("compose.yaml", "config/compose/database.yaml", "config/compose/notify.yaml", "config/compose/identities.yaml")
SIDECARS = ("sidecar", "sidecar-2")
HOOKS = "http://127.0.0.1:9999/hooks/"
# Waits for one notice, in the network namespace of the sidecars, and prints it.
RECEIVER = """
import http.server, json
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        print(json.dumps({"path": self.path, "signature": self.headers["x-hub-signature-256"], "body": body}))
        self.send_response(204)
        self.end_headers()
    def log_message(self, *_): pass
server = http.server.HTTPServer(("127.0.0.1", 9999), Handler)
server.timeout = 120
server.handle_request()
"""


class Caller:
    """Calls /v1 with a session."""

    def __init__(self, api: Api) -> None:
        self._api = api
        status, body = api.login()
        require(status == 200, f"a login: {status} {body}")
        self._headers = {"X-Auth-Token": str(body["return"][0]["token"])}

    def get(self, path: str) -> tuple[int, Any]:
        return self._api.request("GET", f"/v1/jobs{path}", headers=self._headers)

    def post(self, key: str, **fields: Any) -> tuple[int, Any]:
        headers = {**self._headers, "Idempotency-Key": key}
        return self._api.request("POST", "/v1/jobs?wait=60", {"tgt": "*", "fun": "test.ping", **fields}, headers=headers)

    def ends(self) -> None:
        """Log out."""
        status, body = self._api.request("POST", "/logout", headers=self._headers)
        require(status == 200, f"a logout: {status} {body}")

    def is_in(self, api: Api) -> bool:
        """Say whether a sidecar takes this session."""
        return api.request("GET", "/stats", headers=self._headers)[0] == 200

    def runs(self, key: str, **fields: Any) -> str:
        """Post a job until it is answered, as a pipeline does; return its jid. A busy minion may be too slow for Salt's timeout."""
        answers: list[tuple[int, Any]] = []

        def is_over() -> bool:
            answers.append(self.post(key, **fields))
            require(answers[-1][0] != 400, f"a job: {answers[-1]}")
            return answers[-1][0] == 200

        eventually(f"the job {key} is over", is_over, PATIENCE_SECONDS, 1)
        jid: str = answers[-1][1]["jid"]
        return jid


def one_has_the_store(api: Api, report: Report) -> None:
    """Show that nginx sends /v1/ to the sidecar with the store alone: the other one would answer 503."""
    caller = Caller(api)
    statuses = [caller.get("?limit=1")[0] for _ in range(8)]
    require(statuses == [200] * 8, f"/v1/jobs through nginx: {statuses}")
    report.found("/v1/ through nginx, with a file", "8 of 8 answered by the sidecar that has it")


def everything(stack: Stack, trusting: ssl.SSLContext, report: Report) -> None:
    """Give both sidecars one store, and go back to the file."""
    with _shared(stack, report) as key:
        apis = [Api(port, stack.secret(), address=stack.address()) for port in (8001, 8002)]
        first, second = map(Caller, apis)
        through = Caller(stack.api(trusting))
        jid = first.runs("both")
        _is_everybodys(jid, second, report)
        _is_balanced(stack, jid, through, report)
        for service in SIDECARS:
            _fails_over(stack, service, through, report)
        _is_told(stack, through, key, report)
        _is_logged_out(apis, report)
        identified.everything(stack, report)
    status, found = Caller(stack.api(trusting)).get(f"/{jid}")
    require(status == 404, f"back to the file: {status} {found}")
    report.found("back to the file", "the jobs of the database are not in it")


@contextmanager
def _shared(stack: Stack, report: Report) -> Iterator[bytes]:
    """Run the stack with the database, notices and identities inside the block, with both sidecars and nginx; gives the key that signs notices."""
    files = {name: _secret_file(stack, name) for name in ("database", "notify")}
    stack.environ |= {
        "COMPOSE_FILE": ":".join(map(str, [*(ROOT / name for name in FILES), identified.prepared(stack)])),
        "DATABASE_PASSWORD_FILE": str(files["database"]),
        "NOTIFY_SECRET_FILE": str(files["notify"]),
        "NOTIFY_URLS": HOOKS,
        "POSTGRES_IMAGE": standins.POSTGRES,
    }
    stack.profiles.append("tls")
    report.found("up with PostgreSQL and identities", f"both sidecars and nginx well after {stack.up('nginx'):.1f} s")
    yield files["notify"].read_bytes().strip()
    stack.compose("rm", "--stop", "--force", "database", "issuer")
    del stack.environ["COMPOSE_FILE"]
    stack.up("nginx")
    stack.engine.docker("volume", "rm", *(f"{stack.project}_{name}" for name in ("database", "identities", "proxy-secret")))


def _is_logged_out(apis: list[Api], report: Report) -> None:
    """Show that a session counts at both sidecars, and that a logout at one ends it at the other."""
    here, there = apis
    session = Caller(here)
    require(session.is_in(there), "a session of one sidecar is refused by the other")
    session.ends()
    eventually("the session is over at the other sidecar", lambda: not session.is_in(there), PATIENCE_SECONDS, 1)
    report.found("a logout at one sidecar", "ends the session at the other")


def _secret_file(stack: Stack, name: str) -> Path:
    file = stack.engine.work / f"{name}.secret"
    file.write_text(f"{secrets.token_hex(32)}\n")
    file.chmod(0o444)
    return file


def _is_everybodys(jid: str, second: Caller, report: Report) -> None:
    status, job = second.get(f"/{jid}")
    require((status, job["status"], job["counts"]) == (200, "succeeded", {"ok": 2}), f"a job of the other sidecar: {status} {job}")
    require(second.runs("both") == jid, "the same request at the other sidecar ran again")
    report.found("a job of one sidecar", "is read at the other, and its request, sent again there, does not run again")


def _is_balanced(stack: Stack, jid: str, through: Caller, report: Report) -> None:
    before = _asked(stack, jid)
    statuses = [through.get(f"/{jid}")[0] for _ in range(8)]
    require(statuses == [200] * 8, f"a job through nginx: {statuses}")
    eventually("both sidecars have answered", lambda: all(now > then for now, then in zip(_asked(stack, jid), before, strict=True)), PATIENCE_SECONDS)
    report.found("8 calls of /v1/ through nginx", "200; both sidecars have answered some")


def _asked(stack: Stack, jid: str) -> list[int]:
    """Return how many requests for a job each sidecar has in its log."""
    logs = (stack.compose("logs", "--no-color", "--no-log-prefix", service).splitlines() for service in SIDECARS)
    return [sum('"http.request"' in line and jid in line for line in lines) for lines in logs]


def _fails_over(stack: Stack, service: str, through: Caller, report: Report) -> None:
    """Kill a sidecar, and call /v1/ through nginx meanwhile."""
    stack.compose("kill", service)
    jid = through.runs(f"without-{service}")
    statuses = [through.get(f"/{jid}")[0] for _ in range(8)]
    require(statuses == [200] * 8, f"/v1/ while {service} is away: {statuses}")
    seconds = stack.up("nginx")
    report.found(f"{service} killed", f"a job was run and read 8 times through nginx, by the other one; well again after {seconds:.1f} s")


def _is_told(stack: Stack, through: Caller, key: bytes, report: Report) -> None:
    """Have a job tell a receiver that it is over."""
    with ThreadPoolExecutor(1) as pool:
        receiver = pool.submit(stack.compose, "exec", "-T", "sidecar", "python3", "-c", RECEIVER)
        jid = through.runs("told", notify=f"{HOOKS}1")
        heard = json.loads(receiver.result(PATIENCE_SECONDS))
    told = json.loads(heard["body"])
    expected = f"sha256={hmac.digest(key, heard['body'].encode(), hashlib.sha256).hex()}"
    require((heard["path"], heard["signature"], told["jid"]) == ("/hooks/1", expected, jid), f"a notice: {heard}")
    status, refused = through.post("elsewhere", notify="https://evil.example/")
    require(status == 422, f"a notice to somewhere else: {status} {refused}")
    report.found("a notice", "arrived, signed with the key of NOTIFY_SECRET_FILE; one to another URL is 422")
