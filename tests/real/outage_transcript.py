"""Prints what callers see while a real salt-master is stopped and started: `make outage`."""

from __future__ import annotations

import collections
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

from service.demo.embedded import EmbeddedSalt
from tests.real.load import Load
from tests.real.sidecar import Sidecar

CALLERS = 8
CALM_SECONDS = 5.0
LOGGED = {"master.down", "master.up", "bus.disconnected", "bus.connected", "app.not_ready", "app.ready"}


class Transcript:
    """Says what happens, one line a second and one for each event."""

    def __init__(self, salt: EmbeddedSalt, sidecar: Sidecar) -> None:
        self._salt = salt
        self._sidecar = sidecar
        self._load = Load(sidecar, {**salt.credentials, "client": "local", "tgt": "*", "fun": "test.ping"}, CALLERS)
        self._started = time.monotonic()
        self._over = threading.Event()
        self._told_calls = 0
        self._told_lines = len(sidecar.lines())

    def play(self) -> bool:
        """Stop the master and start it again under load; return whether all went as promised."""
        told = threading.Thread(target=self._tell_on, daemon=True)
        with self._load.running():
            told.start()
            self._watch(CALM_SECONDS)
            self._say("--- the master is told to stop")
            self._salt.stop_master()
            self._say("--- the master has stopped")
            self._watch(CALM_SECONDS)
            self._say("--- the master is started")
            self._salt.start_master()
            self._say("--- the master and its minions are up")
            self._sidecar.wait_ready(10)
            ready = time.monotonic()
            self._watch(CALM_SECONDS)
        self._over.set()
        told.join(10)
        return self._sum_up([call.status for call in self._load.calls if call.began > ready])

    def _watch(self, seconds: float) -> None:
        self._over.wait(seconds)

    def _tell_on(self) -> None:
        tick = time.monotonic() + 1
        while not self._over.wait(0.05):
            self._tell_log()
            if time.monotonic() >= tick:
                tick += 1
                self._tell_calls()

    def _tell_log(self) -> None:
        for line in self._sidecar.lines()[self._told_lines :]:
            self._told_lines += 1
            if line["event"] in LOGGED:
                self._say(f"    log: {line['event']} {line.get('reason') or ''}".rstrip())

    def _tell_calls(self) -> None:
        calls = self._load.calls[self._told_calls :]
        self._told_calls += len(calls)
        slowest = max((call.answer.seconds for call in calls), default=0.0)
        counts = ", ".join(f"{status}: {count}" for status, count in sorted(collections.Counter(call.status for call in calls).items()))
        probes = f"/livez {self._sidecar.probe('/livez')} /readyz {self._sidecar.probe('/readyz')}"
        self._say(f"answers {counts or 'none'}; slowest {slowest * 1000:.0f} ms; {probes}")

    def _say(self, text: str) -> None:
        print(f"{time.monotonic() - self._started:6.1f} s  {text}", flush=True)

    def _sum_up(self, after: list[int]) -> bool:
        refused = [call for call in self._load.calls if call.status == 503]
        first = min(refused, key=lambda call: call.ended).answer
        median = statistics.median(call.answer.seconds for call in refused)
        total = collections.Counter(call.status for call in self._load.calls)
        self._say(f"all answers by status: {dict(sorted(total.items()))}; none hung")
        self._say(f"the first 503 took {first.seconds:.3f} s ({first.json()['return']}), the median of all {len(refused)} {median * 1000:.0f} ms")
        self._say(f"answers to calls after /readyz was 200 again: {dict(collections.Counter(after))}")
        return first.seconds < 2 and set(total) <= {200, 503} and set(after) == {200}


def main() -> int:
    """Return 0 if callers were treated as promised."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(f"starting a salt-master, two minions and the sidecar; {CALLERS} callers will send `local test.ping *`", flush=True)
        with EmbeddedSalt(folder / "salt", threads=True) as salt, Sidecar(salt.master_config, folder / "sidecar") as sidecar:
            return 0 if Transcript(salt, sidecar).play() else 1


if __name__ == "__main__":
    sys.exit(main())
