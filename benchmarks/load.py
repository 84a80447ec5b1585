"""The load generator, a process of its own: callers on kept-alive connections, and a look into every answer for every minion."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import orjson

from benchmarks.behaviour import GRAINS, NO_RETURN
from benchmarks.cases import Check
from benchmarks.probes import Meanwhile, cpu_seconds, forget_peak, peak_bytes, resident_bytes
from service.demo.processes import session_members

READ_BYTES = 32 * 1024 * 1024


@dataclasses.dataclass(frozen=True)
class Load:
    """
    What to send, to which minions, and when to stop.

    session: process id of the server, for its CPU time and memory; 0 for none. beside: those of what works for it, by name.
    seconds: callers begin no request after that. each: most requests of one caller; 0 for no limit.
    grace_seconds: an answer that is not there that long after the end is lost.
    small_body: what is sent once before, so that what any first request loads does not count as memory of this one.
    repeat: how many x each minion returns; 0 for True. silent: further minions, which the answer says did not return.
    pause_seconds: of a caller, between two requests. method: of the requests.
    """

    port: int
    body: str
    headers: Mapping[str, str]
    check: Check
    minions: tuple[str, ...]
    callers: int = 1
    seconds: float = 5.0
    each: int = 0
    grace_seconds: float = 30.0
    session: int = 0
    repeat: int = 0
    path: str = "/"
    silent: tuple[str, ...] = ()
    small_body: str = ""
    pause_seconds: float = 0.0
    method: str = "POST"
    beside: Mapping[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Sample:
    """
    What came of a load. Per request: of those that were answered completely.

    lost: wrong, incomplete or no answer; `faults` counts them by kind. beside: see probes.Meanwhile.
    """

    requests: int
    lost: int
    faults: Mapping[str, int]
    seconds: float
    rate: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    rss_mb: float
    rss_growth_mb: float
    answer_bytes: int
    generator_share: float
    beside: Mapping[str, float]


def is_right(answer: bytes, load: Load) -> bool:
    """Say whether an answer has everything that was asked for."""
    try:
        if load.check in {"v1_job", "v1_returns"}:
            return _is_right_job(orjson.loads(answer), load)
        if load.check in {"v1_minions", "key_names"}:
            found = orjson.loads(answer)
            return bool((found["minions"] if load.check == "v1_minions" else sorted(found["return"]["minions"])) == sorted(load.minions))
        (value,) = orjson.loads(answer)["return"]
        if load.check == "returns":
            wanted: object = "x" * load.repeat if load.repeat else True
            missing = [value.pop(minion, "") for minion in load.silent]
            return bool(value == dict.fromkeys(load.minions, wanted)) and all(words.startswith(NO_RETURN) for words in missing)
        if load.check == "grains":
            return bool(value == dict.fromkeys(load.minions, GRAINS))
        if load.check == "job":
            return bool(value["jid"]) and sorted(value["minions"]) == sorted(load.minions)
        if load.check == "keys":
            return set(load.minions) <= set(value["data"]["return"]["minions"])
        return bool(value["args"] == ["a", 1])
    except (ValueError, KeyError, TypeError, AttributeError):
        return False


def _is_right_job(job: dict[str, Any], load: Load) -> bool:
    if load.check == "v1_job":
        return bool(job["jid"]) and job["minions"].keys() == set(load.minions)
    return bool(
        job["status"] == "succeeded" and {minion: part["return"] for minion, part in job["minions"].items()} == dict.fromkeys(load.minions, "x" * load.repeat)
    )


class Caller:
    """One connection, one request after the other."""

    def __init__(self, load: Load, faults: Counter[str], latencies: list[float]) -> None:
        self._load = load
        self._faults = faults
        self._latencies = latencies
        lines = [f"{load.method} {load.path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json", "Accept: application/json"]
        lines += [f"{name}: {value}" for name, value in load.headers.items()]
        lines += [f"Content-Length: {len(load.body)}", "", load.body]
        self._message = "\r\n".join(lines).encode()
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self.last_bytes = 0
        self.begun = 0

    async def call(self) -> None:
        """Send a request, judge the answer, note the time it took or what was wrong."""
        started = time.monotonic()
        self.begun += 1
        try:
            status, body = await self._exchange()
        except (OSError, EOFError, ValueError) as exc:
            self._faults[type(exc).__name__] += 1
            self._drop()
            await asyncio.sleep(0.1)
            return
        self.last_bytes = len(body)
        if status not in {200, 202}:
            self._faults[f"status {status}"] += 1
            await asyncio.sleep(0.1)
        elif not is_right(body, self._load):
            self._faults["wrong or incomplete"] += 1
        else:
            self._latencies.append(time.monotonic() - started)

    async def run(self, until: float) -> None:
        """Call until the time is over."""
        while time.monotonic() < until and (not self._load.each or self.begun < self._load.each):
            await self.call()
            if self._load.pause_seconds:
                await asyncio.sleep(self._load.pause_seconds)

    def close(self) -> None:
        self._drop()

    async def _exchange(self) -> tuple[int, bytes]:
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._load.port, limit=READ_BYTES)
        self._writer.write(self._message)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        status = int(head.split(None, 2)[1])
        if b"transfer-encoding: chunked" in head:
            body = await self._chunked(self._reader)
        else:
            length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
            body = await self._reader.readexactly(int(length))
        if b"connection: close" in head:
            self._drop()
        return status, body

    async def _chunked(self, reader: asyncio.StreamReader) -> bytes:
        parts = []
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            parts.append(await reader.readexactly(size))
            await reader.readexactly(2)
        await reader.readuntil(b"\r\n")
        return b"".join(parts)

    def _drop(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None


async def generate(load: Load) -> Sample:
    """Warm up with one request, run the callers, and count. Memory is compared with that before the first request, or after the small one before it."""
    faults: Counter[str] = Counter()
    latencies: list[float] = []
    pids = session_members(load.session) if load.session else []
    if load.small_body:
        await _once(dataclasses.replace(load, body=load.small_body))
    forget_peak(pids)
    before = resident_bytes(pids)
    await _once(load)
    callers = [Caller(load, faults, latencies) for _ in range(load.callers)]
    meanwhile = Meanwhile(load.beside)
    cpu, own, started = cpu_seconds(load.session), os.times(), time.monotonic()
    tasks = [asyncio.create_task(caller.run(started + load.seconds)) for caller in callers]
    _, late = await asyncio.wait(tasks, timeout=load.seconds + load.grace_seconds)
    seconds, used, spent = time.monotonic() - started, cpu_seconds(load.session) - cpu, os.times()
    beside = meanwhile.figures(len(latencies))
    peak = peak_bytes(pids)
    for task in late:
        task.cancel()
        faults["no answer"] += 1
    for caller in callers:
        caller.close()
    done = len(latencies)
    return Sample(
        requests=done + sum(faults.values()),
        lost=sum(faults.values()),
        faults=dict(faults),
        seconds=round(seconds, 2),
        rate=round(done / seconds, 2),
        p50_ms=percentile(latencies, 0.50),
        p99_ms=percentile(latencies, 0.99),
        cpu_ms=round(1000 * used / done, 3) if done else 0.0,
        rss_mb=round(peak / 1e6, 1),
        rss_growth_mb=round((peak - before) / 1e6, 1),
        answer_bytes=max(caller.last_bytes for caller in callers),
        generator_share=round((spent.user + spent.system - own.user - own.system) / seconds, 3),
        beside=beside,
    )


async def _once(load: Load) -> None:
    caller = Caller(load, Counter(), [])
    await asyncio.wait_for(caller.call(), load.grace_seconds + load.seconds)
    caller.close()


def percentile(seconds: list[float], share: float) -> float:
    """Return a percentile in milliseconds, 0 of nothing."""
    if not seconds:
        return 0.0
    ordered = sorted(seconds)
    return round(1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2)


def main() -> None:
    """Read a load as JSON from standard input, print its sample."""
    given = json.load(sys.stdin)
    load = Load(**{**given, "minions": tuple(given["minions"]), "silent": tuple(given["silent"])})
    print(json.dumps(dataclasses.asdict(asyncio.run(generate(load)))))


if __name__ == "__main__":
    main()
