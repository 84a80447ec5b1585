"""The sidecar as the process an operator runs, and callers that time their answers; every wait has an end."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from service.demo.embedded import PATIENCE_SECONDS, until

if TYPE_CHECKING:
    from typing_extensions import Self

ANSWER_SECONDS = 180.0
JSON = {"Content-Type": "application/json"}


@dataclasses.dataclass(frozen=True)
class Answer:
    """What came back, and how long it took. Header names are in small letters; a status of 0 means no answer at all, and `body` says why."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def value(self) -> Any:
        """The value of the only low of a success."""
        assert self.status == 200, self.body
        (value,) = self.json()["return"]
        return value


def ask(port: int, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None, timeout: float = ANSWER_SECONDS) -> Answer:
    """Send one request over a connection of its own; raises OSError when there is no answer in time."""
    started = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    with contextlib.closing(connection):
        connection.request(method, path, body, dict(headers or {}))
        response = connection.getresponse()
        content = response.read()
    names = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, names, content, time.monotonic() - started)


class Sidecar:
    """
    `python -m service serve`, on ports the system chooses.

    folder: takes its output, and `sidecar.yaml` if a test writes one; beside_master: look for that file where it is by default instead.
    under: a program that runs it, which is given as its last arguments. settings: by their names in the environment without the prefix, `API_PORT`.
    """

    def __init__(
        self,
        master_config: Path,
        folder: Path,
        environ: Mapping[str, str] | None = None,
        *,
        beside_master: bool = False,
        under: Sequence[str] = (),
        **settings: object,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SIDECAR_", "SALT_"))}
        chosen = {"API_PORT": 0, "OPS_PORT": 0, **({} if beside_master else {"CONFIG": folder / "sidecar.yaml"}), **settings}
        self._environ = {**inherited, **{f"SIDECAR_{name}": str(value) for name, value in chosen.items()}, **(environ or {})}
        self._argv = [*under, sys.executable, "-m", "service", "serve", "--master-config", str(master_config)]
        self._process: subprocess.Popen[bytes] | None = None
        self.api_port = self.ops_port = 0

    def launch(self, *under: str) -> Self:
        """Start the process, under a program that changes its rights if one is given, and wait for nothing."""
        (self.folder / "sidecar.yaml").touch()
        with (self.folder / "stdout").open("ab") as out, (self.folder / "stderr").open("ab") as err:
            self._process = subprocess.Popen([*under, *self._argv], stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=self._environ)
        return self

    def launch_into(self, output: int) -> Self:
        """Start the process with a descriptor as its standard output, and wait for nothing."""
        (self.folder / "sidecar.yaml").touch()
        with (self.folder / "stderr").open("ab") as err:
            self._process = subprocess.Popen(self._argv, stdin=subprocess.DEVNULL, stdout=output, stderr=err, env=self._environ)
        return self

    def start(self) -> Self:
        """Start the process and wait until it answers; the master may be away."""
        self.launch()
        line = self.wait_for_line("app.start")
        self.api_port, self.ops_port = (int(line[name].rpartition(":")[2]) for name in ("api", "ops"))
        self.wait(lambda: self.probe("/livez") == 200, "alive")
        return self

    def __enter__(self) -> Self:
        try:
            self.start()
            self.wait_ready()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.kill()

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def end(self, timeout: float = 120.0) -> int:
        """Wait for the end; return the exit code."""
        assert self._process is not None
        return self._process.wait(timeout)

    def stop(self) -> int:
        self.signal(signal.SIGTERM)
        return self.end()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(60)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def lines(self, event: str | None = None) -> list[dict[str, Any]]:
        """Return the log, decoded, or the lines of one event; fails if anything on standard output is no JSON object."""
        whole = (self.folder / "stdout").read_bytes().rpartition(b"\n")[0]
        lines = [json.loads(line) for line in whole.splitlines()]
        return [line for line in lines if event in {None, line["event"]}]

    def stderr(self) -> str:
        return (self.folder / "stderr").read_text(encoding="utf-8", errors="replace")

    def wait_for_line(self, event: str, number: int = 1, timeout: float = PATIENCE_SECONDS) -> dict[str, Any]:
        """Return the *number*th line of an event."""
        self.wait(lambda: len(self.lines(event)) >= number or not self.running, event, timeout)
        found = self.lines(event)
        assert len(found) >= number, f"no {event}: {self.lines()[-5:]} {self.stderr()[-2000:]}"
        return found[number - 1]

    def wait_ready(self, timeout: float = PATIENCE_SECONDS) -> float:
        """Wait for /readyz to be 200; return how long it took."""
        return self.wait(lambda: self.probe("/readyz") == 200, "ready", timeout)

    def wait_not_ready(self, timeout: float = PATIENCE_SECONDS) -> float:
        return self.wait(lambda: self.probe("/readyz") == 503, "not ready", timeout)

    def wait(self, condition: Callable[[], bool], what: str, timeout: float = PATIENCE_SECONDS) -> float:
        """Wait until a condition holds; return how long it took."""
        started = time.monotonic()
        for _ in until(timeout):
            if condition():
                return time.monotonic() - started
        raise AssertionError(f"not {what} within {timeout:g} s; the log ends with {self.lines()[-5:]}")

    def probe(self, path: str) -> int:
        """Return the status of an ops URL, 0 when nobody answers."""
        try:
            return self.ops(path).status
        except OSError:
            return 0

    def ops(self, path: str) -> Answer:
        return ask(self.ops_port, "GET", path, timeout=60)

    def get(self, path: str = "/", headers: Mapping[str, str] | None = None) -> Answer:
        return ask(self.api_port, "GET", path, headers=headers)

    def post(self, *lows: Mapping[str, Any], timeout: float = ANSWER_SECONDS, headers: Mapping[str, str] | None = None) -> Answer:
        """Send a lowstate."""
        return ask(self.api_port, "POST", "/", json.dumps(lows).encode(), {**JSON, **(headers or {})}, timeout)

    def peak_bytes(self) -> int:
        """Return the most memory that the process has had so far. Source: /proc/PID/status, VmHWM."""
        assert self._process is not None
        status = Path("/proc", str(self._process.pid), "status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

    def login(self, who: Mapping[str, str]) -> str:
        """Open a session; return its token."""
        token: str = self.try_login(who).json()["return"][0]["token"]
        return token

    def try_login(self, who: Mapping[str, str]) -> Answer:
        return ask(self.api_port, "POST", "/login", json.dumps(who).encode(), JSON)

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of the samples of a metric that have these labels."""
        page = self.ops("/metrics").body.decode()
        total = 0.0
        for given, value in re.findall(rf"^{name}(?:{{(.*?)}})? (\S+)$", page, re.MULTILINE):
            if labels.items() <= dict(re.findall(r'(\w+)="(.*?)"', given)).items():
                total += float(value)
        return total
