"""A caller of `/v1/jobs` beside a real master, whose jobs leave a line for each time that they run."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from service.demo.embedded import PATIENCE_SECONDS, EmbeddedSalt
from tests.real.conftest import MakeSidecar
from tests.real.sidecar import JSON, Answer, Sidecar, ask

# What a pipeline's account has, and the one that only looks jobs up.
USERS: dict[str, list[Any]] = {"ci": ["cmd.run", "state.apply", "test.*", {"@runner": ["test.sleep"]}], "recovery": [{"@runner": ["jobs.list_job$"]}]}


class Pipeline:
    """A caller of `/v1/jobs`, and the file in which its jobs leave a line for each time they run."""

    def __init__(
        self,
        salt: EmbeddedSalt,
        make: MakeSidecar,
        folder: Path,
        *,
        recovers: bool = True,
        who: Mapping[str, str] | None = None,
        master_config: Path | None = None,
        **how: Any,
    ) -> None:
        """recovers: there is an account that looks jobs up. who: the credentials of the caller, if not `ci`. master_config: another one than the master's own. how: what else Sidecar takes."""
        account: dict[str, object] = {}
        if recovers:
            password = folder / "password"
            password.write_text(salt.credentials_of("recovery")["password"])
            account = {"JOBS_RECOVERY_USER": "file:recovery", "JOBS_RECOVERY_PASSWORD_FILE": password}
        self._make, self.who = make, who or salt.credentials_of("ci")
        self._settings = {"JOBS_STORE": f"sqlite://{folder}/jobs.db", "JOBS_LOST_SECONDS": 2, **account, **how}
        self._salt = salt
        self._master_config = master_config or salt.master_config
        self.ran = folder / "ran"
        self.again()
        self.token = self.login()

    def login(self) -> str:
        return self.sidecar.login(self.who)

    def again(self, **settings: object) -> None:
        """Start a process, perhaps in the place of one that is gone. settings: over the pipeline's own; None takes one away."""
        chosen = {name: value for name, value in {**self._settings, **settings}.items() if value is not None}
        self.sidecar: Sidecar = self._make(self._master_config, **chosen).__enter__()

    def post(self, query: str = "", key: str = "", **asked: Any) -> Answer:
        return self.send({"tgt": "*", **asked}, query, key)

    def send(self, body: dict[str, Any], query: str = "", key: str = "") -> Answer:
        headers = {**JSON, "X-Auth-Token": self.token, **({"Idempotency-Key": key} if key else {})}
        return ask(self.sidecar.api_port, "POST", f"/v1/jobs{query}", json.dumps(body).encode(), headers)

    def relaunch(self, jid: str, minions: str, query: str = "") -> Answer:
        headers = {**JSON, "X-Auth-Token": self.token}
        return ask(self.sidecar.api_port, "POST", f"/v1/jobs/{jid}/relaunch{query}", json.dumps({"minions": minions}).encode(), headers)

    def get(self, path: str, accept: str = "*/*") -> Answer:
        return ask(self.sidecar.api_port, "GET", f"/v1/jobs{path}", headers={"X-Auth-Token": self.token, "Accept": accept})

    def cancel(self, jid: str) -> Answer:
        return ask(self.sidecar.api_port, "DELETE", f"/v1/jobs/{jid}", headers={"X-Auth-Token": self.token})

    @contextlib.contextmanager
    def following(self, jid: str, after: int = 0) -> Iterator[Iterator[dict[str, Any]]]:
        """Follow a job inside the block; yields what happens, until the stream ends or is cut."""
        connection = http.client.HTTPConnection("127.0.0.1", self.sidecar.api_port, timeout=PATIENCE_SECONDS)
        with contextlib.closing(connection):
            headers = {"X-Auth-Token": self.token, "Accept": "application/x-ndjson", "Last-Event-ID": str(after)}
            connection.request("GET", f"/v1/jobs/{jid}/events", headers=headers)
            yield _happenings(connection.getresponse())

    def end_of(self, jid: str) -> dict[str, Any]:
        """Wait for the end of a job; return it."""
        for _ in range(5):
            answer = self.get(f"/{jid}?wait=60")
            if answer.status == 200:
                job: dict[str, Any] = answer.json()
                return job
        raise AssertionError(answer.body)

    def marking(self, then: str = "true") -> dict[str, Any]:
        """Return a job that leaves a line on each minion."""
        return {"fun": "cmd.run", "arg": [f"echo run >> {self.ran}; {then}"]}

    @property
    def runs(self) -> int:
        return len(self.ran.read_text().splitlines()) if self.ran.exists() else 0


def gated_states(salt: EmbeddedSalt, gate: Path) -> str:
    """Write states of which the second one ends when there is a file *gate*, and the third one fails; return their name."""
    held = f"while [ ! -e {gate} ]; do sleep 0.2; done"
    states = {
        "one": {"test.succeed_with_changes": []},
        "two": {"cmd.run": [{"name": held}]},
        "three": {"test.fail_without_changes": []},
        "four": {"test.nop": [{"require": [{"test": "three"}]}]},
    }
    (salt.master_config.parents[1] / "files" / "states" / "gated.sls").write_text(f"#!json\n{json.dumps(states)}")
    return "gated"


def _happenings(stream: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    with contextlib.suppress(OSError, http.client.IncompleteRead):
        while line := stream.readline():
            if line.strip():
                yield json.loads(line)
