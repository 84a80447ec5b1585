"""One call of the program: its job is begun, followed until its end, and judged."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from service.ci.arguments import request_of
from service.ci.pipeline_keys import PipelineKeys, cause_of
from service.ci.pipeline_log import log_of
from service.ci.remote import EXIT_UNREACHABLE, NONE, SILENT_SECONDS, Away, Ended, Headers, Remote, lines_in
from service.ci.telling import Telling, exit_code_of

CANCEL_SECONDS = 8.0
MOST_REPEATS = 5
DONE = ("succeeded", "partial", "failed", "no_match", "timed_out", "cancelled", "unknown", "refused")


class PipelineRun:
    """One call of the program: what it was asked, who it asks, and where it tells. jid: of its job, once there is one."""

    def __init__(self, options: argparse.Namespace, environ: dict[str, str]) -> None:
        self.options = options
        self.log = log_of(environ, sys.stderr if options.json else sys.stdout)
        self.remote = Remote(options.url or environ.get("SALT_API_URL") or "", environ, self.log.line, options.patience)
        self.until = time.monotonic() + options.deadline + SILENT_SECONDS
        self.jid: str | None = None
        self._asked: tuple[str, str, dict[str, Any], dict[str, str]] | None = None
        self._repeats = MOST_REPEATS
        self._calls = PipelineKeys(environ)
        self._cause = cause_of(environ)

    def run(self) -> int:
        """Do what was asked; return the exit code."""
        self.log.mask(self.remote.login(self.until))
        options = self.options
        if options.command in ("run", "apply"):
            return self._start("/v1/jobs", request_of(options, self._cause))
        if options.command == "relaunch":
            return self._start(f"/v1/jobs/{options.jid}/relaunch", {"minions": options.minions})
        self.jid = options.jid
        if options.command == "cancel":
            self._ask("DELETE", f"/v1/jobs/{self.jid}")
        return self._end(follow=options.command == "follow")

    def cancel(self) -> None:
        """Cancel the job, in the few seconds that an interrupted pipeline has. Raises Away and Declined."""
        self.remote.ask("DELETE", f"/v1/jobs/{self.jid}", timeout=CANCEL_SECONDS)

    def _start(self, path: str, request: dict[str, Any]) -> int:
        key = self.options.key or self._calls.key(path, request)
        self.log.line(f"Idempotency-Key: {key}")
        self._asked = ("POST", path, request, {"Idempotency-Key": key})
        self.jid = str(self._ask(*self._asked)["jid"])
        code = self._end(follow=True)
        self._calls.over(path, request)
        return code

    def _again(self, job: dict[str, Any]) -> dict[str, Any]:
        """Ask once more for a job that goes on only when its owner does, or of which nobody knows whether it was begun; the key keeps it from running twice."""
        if self._asked is None or self._repeats == 0 or not (job.get("needs_owner") or job["status"] == "in_doubt"):
            return job
        self._repeats -= 1
        self.log.line(f"job {self.jid}: asking for it again, with the same key")
        asked: dict[str, Any] = self._ask(*self._asked)
        return asked

    def _end(self, *, follow: bool) -> int:
        """Wait for the job's end, and tell what has become of it."""
        url = f"{self.remote.url}/v1/jobs/{self.jid}"
        self.log.line(f"job {self.jid}: {url}")
        telling = Telling(self.remote, self.log, str(self.jid))
        job = self._followed(telling) if follow else self._waited()
        if self.options.junit:
            Path(self.options.junit).write_bytes(self._ask("GET", f"/v1/jobs/{self.jid}/junit", None, {"Accept": "application/xml"}))
        telling.summary(job, url)
        if self.options.json:
            sys.stdout.write(json.dumps(job) + "\n")
        return exit_code_of(job)

    def _followed(self, telling: Telling) -> dict[str, Any]:
        """Tell what happens until all of it was told: a stream that is cut ends like one that is over."""
        known = -1
        while True:
            job = self._again(self._look(0 if known != telling.after else 5))
            if job["status"] in (*DONE, "in_doubt") and known == telling.after:
                return job
            known = telling.after
            self.remote.patiently(lambda: self._read(telling), self.until)

    def _read(self, telling: Telling) -> None:
        """Tell a stream. Raises Away when it was cut before it said anything; else one goes on where it was."""
        known, wanted = telling.after, {"Accept": "application/x-ndjson", "Last-Event-ID": str(telling.after)}
        try:
            with self.remote.open("GET", f"/v1/jobs/{self.jid}/events", None, wanted, timeout=SILENT_SECONDS) as answer:
                for line in lines_in(answer):
                    if line.strip():
                        telling.happened(json.loads(line))
        except Away:
            if telling.after == known:
                raise

    def _waited(self) -> dict[str, Any]:
        while (job := self._look(60))["status"] not in (*DONE, "in_doubt"):
            if time.monotonic() >= self.until:
                raise Ended(EXIT_UNREACHABLE, f"job {self.jid} goes on; wait for it again")
        return job

    def _look(self, seconds: int) -> dict[str, Any]:
        found: dict[str, Any] = self._ask("GET", f"/v1/jobs/{self.jid}?wait={seconds}")
        return found

    def _ask(self, method: str, path: str, body: Any = None, headers: Headers = NONE) -> Any:
        return self.remote.patiently(lambda: self.remote.ask(method, path, body, headers), self.until)
