"""The floors: the same job with no HTTP, no log and no metrics, through the gateway alone or as the proof of concept did it; each in a process of its own."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from benchmarks.cases import GATEWAY
from benchmarks.load import Load, Sample, percentile
from benchmarks.probes import Meanwhile, resident_bytes
from service.demo.embedded import until
from service.events.hub import Hub
from service.gateway.clients.local import Request
from service.gateway.gateway import Gateway
from service.gateway.low import parse_lowstate
from service.wiring.configuration import read_configuration

START_SECONDS = 30.0


class Deaf:
    """Hears what the gateway tells, of the master and of jobs, and does nothing with it."""

    def rpc(self, *_: object) -> None: ...
    def bus(self, *_: object) -> None: ...
    def master(self, *_: object) -> None: ...
    def probe(self, *_: object) -> None: ...
    def publishing(self) -> AbstractContextManager[None]:
        return nullcontext()

    def published(self, *_: object) -> None: ...
    def waits(self, *_: object) -> None: ...
    def ended(self, *_: object) -> None: ...


def connected(master_config: str) -> Gateway:
    """Return a gateway that is ready, with the settings that the sidecar has by default."""
    found = read_configuration({"SALT_MASTER_CONFIG": master_config, "SIDECAR_CONFIG": "/dev/null"})
    ours = found.settings
    gateway = Gateway(
        found.master,
        Hub(early_limit_bytes=ours.jobs.early_bytes, on_event=lambda _kind, _size: None, on_drop=lambda: None),
        Deaf(),
        Deaf(),
        ours.master,
        load_limit_bytes=ours.api.load_limit_bytes,
    )
    gateway.start()
    for _ in until(START_SECONDS):
        if gateway.master_state()[0] and gateway.bus_state()[0]:
            return gateway
    raise TimeoutError(gateway.master_state(), gateway.bus_state())


def through_gateway(gateway: Gateway, low: Mapping[str, Any], seconds: float) -> object:
    """Run a low; as for every request over HTTP it is checked again."""
    (parsed,) = parse_lowstate([low], enabled=(low["client"],), most=1)
    return gateway.runner.run(parsed, Request("", time.monotonic() + seconds)).value


def measure(load: Load, call: Callable[[], object]) -> Sample:
    """Call in threads, again and again in each, and judge the results."""
    latencies: list[float] = []
    faults: Counter[str] = Counter()
    wanted = dict.fromkeys(load.minions, True)

    def call_on(until_: float) -> None:
        while time.monotonic() < until_:
            started = time.monotonic()
            if call() == wanted:
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


def measured(floor: str, load: Load, low: Mapping[str, Any], master_config: str) -> Sample:
    """Measure one of the floors."""
    if floor != GATEWAY:
        # Salt's channels would cost the gateway's process memory and time of its start.
        from benchmarks.proof import Proof  # noqa: PLC0415

        proof = Proof(master_config)
        return measure(load, lambda: proof.call(low["tgt"], low["fun"], low["token"]))
    gateway = connected(master_config)
    try:
        return measure(load, lambda: through_gateway(gateway, low, load.grace_seconds))
    finally:
        gateway.stop()


def main() -> None:
    """Read `{"floor": ..., "load": ..., "master_config": ..., "token": ...}` from standard input, print the sample."""
    given: dict[str, Any] = json.load(sys.stdin)
    load = Load(**{**given["load"], "minions": tuple(given["load"]["minions"]), "silent": ()})
    low = {**json.loads(load.body)[0], "token": given["token"]}
    print(json.dumps(dataclasses.asdict(measured(given["floor"], load, low, given["master_config"]))))


if __name__ == "__main__":
    main()
