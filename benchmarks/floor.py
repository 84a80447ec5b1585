"""The floor: the same job through the gateway alone, with no HTTP, no log and no metrics, in a process of its own."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import threading
import time
from collections import Counter
from typing import Any

from benchmarks.load import Load, Sample, percentile
from benchmarks.probes import Meanwhile, resident_bytes
from service.cli.embedded import until
from service.configuration import read_configuration
from service.gateway.dispatch import Gateway
from service.gateway.jobs import Request
from service.gateway.low import parse_lowstate

START_SECONDS = 30.0


class Deaf:
    """Hears what the gateway tells, and does nothing with it."""

    def rpc(self, *_: object) -> None: ...
    def event(self, *_: object) -> None: ...
    def lag(self, *_: object) -> None: ...
    def dropped(self, *_: object) -> None: ...
    def bus(self, *_: object) -> None: ...
    def master(self, *_: object) -> None: ...
    def probe(self, *_: object) -> None: ...
    def undecodable(self, *_: object) -> None: ...


def connected(master_config: str) -> Gateway:
    """Return a gateway that is ready, with the settings that the sidecar has by default."""
    found = read_configuration({"SALT_MASTER_CONFIG": master_config, "SIDECAR_CONFIG": "/dev/null"})
    ours = found.settings
    gateway = Gateway(
        found.master,
        channels=ours.master.channels,
        rpc_timeout_seconds=ours.master.rpc_timeout_seconds,
        probe_seconds=ours.master.probe_seconds,
        early_bytes=ours.jobs.early_bytes,
        observer=Deaf(),
    )
    gateway.start()
    for _ in until(START_SECONDS):
        health = gateway.health()
        if health.master_up and health.bus_connected:
            return gateway
    raise TimeoutError(gateway.health())


def measure(gateway: Gateway, load: Load, token: str) -> Sample:
    """Run a load's low in threads, one after the other in each, and judge the results."""
    low = {**json.loads(load.body)[0], "token": token}
    latencies: list[float] = []
    faults: Counter[str] = Counter()
    wanted = dict.fromkeys(load.minions, True)

    def call_on(until_: float) -> None:
        while time.monotonic() < until_:
            started = time.monotonic()
            # As for every request over HTTP: the low is checked again.
            (parsed,) = parse_lowstate([low], enabled=(low["client"],), most=1)
            value = gateway.run(parsed, Request("", time.monotonic() + load.grace_seconds)).value
            if value == wanted or load.check != "returns":
                latencies.append(time.monotonic() - started)
            else:
                faults["wrong or incomplete"] += 1

    call_on(time.monotonic() + 0.1)
    latencies.clear()
    meanwhile = Meanwhile(load.beside)
    started, cpu, before = time.monotonic(), time.process_time(), resident_bytes([os.getpid()])
    threads = [threading.Thread(target=call_on, args=(started + load.seconds,)) for _ in range(load.callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    beside = meanwhile.figures(len(latencies))
    seconds, used, memory = time.monotonic() - started, time.process_time() - cpu, resident_bytes([os.getpid()])
    return _sample(latencies, faults, seconds, used, (before, memory), beside=beside)


def _sample(latencies: list[float], faults: Counter[str], seconds: float, used: float, memory: tuple[int, int], *, beside: dict[str, float]) -> Sample:
    done, lost = len(latencies), sum(faults.values())
    return Sample(
        requests=done + lost,
        lost=lost,
        faults=dict(faults),
        seconds=round(seconds, 2),
        rate=round(done / seconds, 2),
        p50_ms=percentile(latencies, 0.50),
        p99_ms=percentile(latencies, 0.99),
        cpu_ms=round(1000 * used / done, 3) if done else 0.0,
        rss_mb=round(memory[1] / 1e6, 1),
        rss_growth_mb=round((memory[1] - memory[0]) / 1e6, 1),
        answer_bytes=0,
        generator_share=0.0,
        beside=beside,
    )


def main() -> None:
    """Read `{"load": ..., "master_config": ..., "token": ...}` from standard input, print the sample."""
    given: dict[str, Any] = json.load(sys.stdin)
    load = Load(**{**given["load"], "minions": tuple(given["load"]["minions"]), "silent": ()})
    gateway = connected(given["master_config"])
    try:
        print(json.dumps(dataclasses.asdict(measure(gateway, load, given["token"]))))
    finally:
        gateway.stop()


if __name__ == "__main__":
    main()
