"""`make fuzz`: hypothesis makes up bodies for a real sidecar while another caller asks /livez. A table of time and memory per byte, and of that caller's waits."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import strategies as st

from service.http.media import FORM, JSON, TEXT, YAML
from tests.probes.bodies import LARGEST, LARGEST_SLOW, SHAPES
from tests.real.sidecar import Answer, Sidecar, ask
from tests.unit.http.test_body_work import AROUND, PIECES, body_of

EXAMPLES = 60
LARGEST_OF = {JSON: LARGEST, TEXT: LARGEST, YAML: LARGEST_SLOW, FORM: LARGEST_SLOW}
# Of shorter ones what a request costs anyway would count as theirs.
TELLING_BYTES = 256 * 1024
POLL_SECONDS = 0.005


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a body cost. memory_bytes: by how much the process grew at its highest."""

    length: int
    status: int
    cpu_seconds: float
    memory_bytes: int


class Livez:
    """A caller that asks /livez over one connection all the time."""

    def __init__(self, port: int) -> None:
        self.waits: list[float] = []
        self._port = port
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Livez:  # noqa: PYI034 - Self is newer than Python 3.10
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _ask(self) -> None:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)) as connection:
            while not self._over.wait(POLL_SECONDS):
                started = time.perf_counter()
                connection.request("GET", "/livez")
                answer = connection.getresponse()
                answer.read()
                self.waits.append(time.perf_counter() - started if answer.status == 200 else 60.0)


class Target:
    """The sidecar that gets the bodies."""

    def __init__(self, sidecar: Sidecar) -> None:
        self._port = sidecar.api_port
        self._proc = Path(f"/proc/{sidecar.pid}")

    def send(self, media_type: str, body: bytes) -> Cost:
        (self._proc / "clear_refs").write_text("5")  # the highest so far counts from here
        before, worked = self._kib("VmRSS"), self._cpu_seconds()
        answer: Answer = ask(self._port, "POST", "/run", body, {"Content-Type": media_type})
        return Cost(len(body), answer.status, self._cpu_seconds() - worked, (self._kib("VmHWM") - before) * 1024)

    def _cpu_seconds(self) -> float:
        return sum(int(task.read_text().split()[0]) for task in self._proc.glob("task/*/schedstat")) / 1e9

    def _kib(self, field: str) -> int:
        return next(int(line.split()[1]) for line in (self._proc / "status").read_text().splitlines() if line.startswith(f"{field}:"))


def made_up(media_type: str, send: Callable[[bytes], Cost], examples: int) -> None:
    """Send bodies that hypothesis makes up, led by what the ones before cost."""
    largest = LARGEST_OF[media_type]

    @hypothesis.settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate, Phase.target])
    @given(PIECES, AROUND, st.sampled_from([TELLING_BYTES, largest // 4, largest]))
    def sent(piece: str, around: tuple[str, str], length: int) -> None:
        before, after = around
        part = body_of(piece, ("", ""), min(length, LARGEST_SLOW))
        if media_type == FORM:
            before, part = f"arg={before}", part.replace("&", "&arg=")
        cost = send((before + part * (length // LARGEST_SLOW or 1) + after).encode()[:largest])
        hypothesis.target(cost.cpu_seconds / cost.length, label="time")
        hypothesis.target(cost.memory_bytes / cost.length, label="memory")

    sent()


@contextlib.contextmanager
def running() -> Iterator[Sidecar]:
    """Run a sidecar whose master is away: bodies are read and judged all the same."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "master"
        config.write_text("".join(f"{name}: {folder}/{name}\n" for name in ("sock_dir", "pki_dir", "cachedir", "log_file")))
        sidecar = Sidecar(config, Path(folder) / "sidecar").start()
        try:
            yield sidecar
        finally:
            sidecar.kill()


def row(name: str, costs: list[Cost], waits: list[float]) -> str:
    """Return a row of the table."""
    telling = [cost for cost in costs if cost.length >= TELLING_BYTES]
    worst = (
        [f"{max(cost.cpu_seconds / cost.length for cost in telling) * 1e6:.2f}", f"{max(cost.memory_bytes / cost.length for cost in telling):.0f}"]
        if telling
        else ["", ""]
    )
    longest = f"{max(cost.cpu_seconds for cost in costs):.2f}" if costs else ""
    statuses = " ".join(f"{status}:{[cost.status for cost in costs].count(status)}" for status in sorted({cost.status for cost in costs}))
    livez = [f"{seconds * 1000:.0f}" for seconds in (statistics.median(waits), max(waits))]
    return " | ".join(["", name, str(len(costs)), longest, *worst, *livez, statuses, ""]).strip()


def main(examples: int = EXAMPLES) -> None:
    """Print the table."""
    print("| bodies | how many | longest s of CPU | worst µs of CPU a byte | worst bytes of memory a byte | /livez median ms | /livez worst ms | statuses |")
    print("|---|---|---|---|---|---|---|---|")
    with running() as sidecar:
        target = Target(sidecar)
        with Livez(sidecar.ops_port) as livez:
            time.sleep(5)
        print(row("none", [], livez.waits), flush=True)
        for media_type in LARGEST_OF:
            costs: list[Cost] = []

            def send(body: bytes, media_type: str = media_type, costs: list[Cost] = costs) -> Cost:
                costs.append(target.send(media_type, body))
                return costs[-1]

            with Livez(sidecar.ops_port) as livez:
                for shape_type, make in SHAPES.values():
                    if shape_type == media_type:
                        send(make().encode())
                made_up(media_type, send, examples)
            print(row(media_type, costs, livez.waits), flush=True)


if __name__ == "__main__":
    main()
