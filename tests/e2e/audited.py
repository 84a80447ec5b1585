"""`make audit` with the real pip-audit, against a stand-in for OSV that knows one advisory."""

from __future__ import annotations

import contextlib
import datetime as dt
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import yaml

from requirements.release.audit import Allowed
from tests.e2e.engine import Engine
from tests.e2e.images import ROOT
from tests.e2e.report import Report
from tests.e2e.shell import require, run

PACKAGE = "jinja2"
ADVISORY = {
    "id": "PYSEC-2026-1",
    "aliases": ["CVE-2026-1"],
    "summary": "made up",
    "affected": [{"package": {"name": PACKAGE, "ecosystem": "PyPI"}, "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.0"}]}]}],
}


def audited(engine: Engine, report: Report) -> None:
    """Show what is found, what the list lets through and until when, and what is said where nobody answers."""
    today = dt.datetime.now(dt.timezone.utc).date()
    with _database() as url:
        found = _audit("--url", url, ok=1)
        require("FAULT: jinja2 " in found and "PYSEC-2026-1, CVE-2026-1; fixed in 99.0" in found, f"not found: {found}")
        report.found("an advisory about one package", next(line for line in found.splitlines() if "FAULT" in line))
        for days, status in ((7, 0), (0, 1)):
            allowed = _allow_list(engine.work / "advisories.yaml", today + dt.timedelta(days))
            said = _audit("--url", url, "--allowed", allowed, ok=status)
            require(("was allowed until" in said) == bool(status), f"with an entry for {days} days: {said}")
    report.found("allowed for a week, and until today", "passes, fails")
    unasked = _audit("--url", url, ok=0)
    require("NOT AUDITED" in unasked, f"without a database: {unasked}")
    _audit("--url", url, "--required", ok=1)
    _audit("--url", url, "--allowed", allowed, ok=1)
    report.found("without a database", "says so; with --required, or an expired entry, it fails")


def _audit(*options: str | Path, ok: int) -> str:
    arguments = " ".join(str(option) for option in options)
    # make's own status is 2.
    return run("make", "--no-print-directory", "audit", f"AUDIT_ARGS={arguments}", cwd=ROOT, ok=(2 * ok,))


def _allow_list(path: Path, until: dt.date) -> Path:
    entry = Allowed("CVE-2026-1", PACKAGE, until, "made up")
    path.write_text(yaml.safe_dump([vars(entry)]))
    return path


class _Osv(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        """Answer as api.osv.dev/v1/query does."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body = json.dumps({"vulns": [ADVISORY]} if asked["package"]["name"] == PACKAGE else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def _database() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Osv) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1/query"
        finally:
            server.shutdown()
            thread.join()
