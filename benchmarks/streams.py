"""Readers of event streams and websockets, a process of its own: every reader has to get every event, and those that are fired for it are dated."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import re
import socket
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.load import percentile
from benchmarks.probes import Meanwhile, cpu_seconds, proportional_bytes, resident_bytes
from service.demo.processes import session_members

MARK = re.compile(rb"bench-(\d+)-(\d+\.\d{6})")
RETURNED = re.compile(rb'"salt/job/\d{20}/ret/[^"]+"')
# Of a tail, in which one of both may have begun.
MARK_BYTES = 100
OPEN_SECONDS = 30.0
SETTLE_SECONDS = 2.0
STALLED_BUFFER_BYTES = 4096
# What a websocket sends to get events, as a text frame that is masked with zeros. Source: RFC 6455, 5.2.
READY = b"websocket client ready"
READY_FRAME = bytes([0x81, 0x80 | len(READY), 0, 0, 0, 0]) + READY
UPGRADE = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}


@dataclasses.dataclass(frozen=True)
class Watch:
    """
    What to read, and what is fired meanwhile.

    path: of the readers. sockets: they are websockets. stalled: one more reader that asks for everything and never reads; then large events are fired too.
    session, beside: process ids, as of a load.
    grace_seconds: what has not come that long after the last event is lost.
    jobs: so many are started in place of what is fired, each with this body; what counts are the returns of all of them.
    """

    port: int
    headers: Mapping[str, str]
    master_config: str
    streams: int
    rate: float
    count: int
    path: str = "/events"
    session: int = 0
    grace_seconds: float = 10.0
    stalled: bool = False
    large_bytes: int = 32_000
    beside: Mapping[str, int] = dataclasses.field(default_factory=dict)
    sockets: bool = False
    jobs: int = 0
    body: str = ""


class Stream(asyncio.Protocol):
    """One reader."""

    def __init__(self, watch: Watch, latencies: list[float]) -> None:
        self._watch = watch
        self._latencies = latencies
        self._tail = b""
        self.opened: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.got = 0
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        assert isinstance(transport, asyncio.WriteTransport)  # noqa: S101 - what asyncio gives for a connection
        self._transport = transport
        transport.write(request_of(self._watch.path, {**self._watch.headers, **(UPGRADE if self._watch.sockets else {})}))

    def data_received(self, data: bytes) -> None:
        """Count and date; a mark that is cut waits for its rest."""
        if not self.opened.done():
            self._open((b" 101 " if self._watch.sockets else b" 200 ") in data[:20])
        now, whole, end = time.time(), self._tail + data, 0
        for found in (RETURNED if self._watch.jobs else MARK).finditer(whole):
            self.got += 1
            if not self._watch.jobs:
                self._latencies.append(now - float(found[2]))
            end = found.end()
        self._tail = whole[max(end, len(whole) - MARK_BYTES) :]

    def _open(self, accepted: bool) -> None:
        self.opened.set_result(accepted)
        if accepted and self._watch.sockets and self._transport is not None:
            self._transport.write(READY_FRAME)

    def connection_lost(self, exc: Exception | None) -> None:
        """The server has had enough of us."""
        del exc
        if not self.opened.done():
            self.opened.set_result(False)


def request_of(path: str, headers: Mapping[str, str]) -> bytes:
    lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode()


async def observe(watch: Watch) -> dict[str, Any]:
    """Open every stream, fire, wait for what comes, and count."""
    latencies: list[float] = []
    loop = asyncio.get_running_loop()
    alone = proportional_bytes(session_members(watch.session))
    made = [await loop.create_connection(lambda: Stream(watch, latencies), "127.0.0.1", watch.port) for _ in range(watch.streams)]
    streams = [stream for _, stream in made]
    await asyncio.wait([stream.opened for stream in streams], timeout=OPEN_SECONDS)
    opened = sum(stream.opened.done() and stream.opened.result() for stream in streams)
    await asyncio.sleep(SETTLE_SECONDS)
    pids = session_members(watch.session)
    reader_bytes = (proportional_bytes(pids) - alone) / watch.streams
    with stalled_reader(watch):
        meanwhile = Meanwhile(watch.beside)
        cpu, own, started, memory = cpu_seconds(watch.session), os.times(), time.monotonic(), resident_bytes(pids)
        await (_start_jobs(watch) if watch.jobs else _fire(watch))
        deadline = time.monotonic() + watch.grace_seconds
        while any(stream.got < watch.count for stream in streams) and time.monotonic() < deadline:  # noqa: ASYNC110 - no event for each event
            await asyncio.sleep(0.1)
        used, spent, seconds = cpu_seconds(watch.session) - cpu, os.times(), time.monotonic() - started
        beside = meanwhile.figures()
    for transport, _ in made:
        transport.close()
    wanted, got = watch.count * watch.streams, sum(min(stream.got, watch.count) for stream in streams)
    return {
        "streams_open": opened,
        "delivered": got,
        "lost": wanted - got,
        "delivered_share": round(got / wanted, 4),
        "p50_ms": percentile(latencies, 0.50),
        "p99_ms": percentile(latencies, 0.99),
        "cpu_us": round(1e6 * used / got, 1) if got else 0.0,
        "reader_kb": round(reader_bytes / 1000, 1),
        "rss_mb": round(resident_bytes(pids) / 1e6, 1),
        "rss_growth_mb": round((resident_bytes(pids) - memory) / 1e6, 1),
        "seconds": round(seconds, 2),
        "generator_share": round((spent.user + spent.system - own.user - own.system) / seconds, 3),
        "beside": beside,
    }


async def _fire(watch: Watch) -> None:
    argv = [sys.executable, "-W", "ignore", "-m", "benchmarks.firing", watch.master_config, f"--count={watch.count}", f"--rate={watch.rate}"]
    if watch.stalled:
        argv.append(f"--large-bytes={watch.large_bytes}")
    firing = await asyncio.create_subprocess_exec(*argv)
    if await firing.wait():
        raise RuntimeError(f"the firing process ended with status {firing.returncode}")


async def _start_jobs(watch: Watch) -> None:
    headers = {**watch.headers, "Content-Type": "application/json", "Accept": "application/json"}
    asked = urllib.request.Request(f"http://127.0.0.1:{watch.port}/", watch.body.encode(), headers)

    def start() -> None:
        with urllib.request.urlopen(asked, timeout=OPEN_SECONDS + watch.grace_seconds) as answer:  # noqa: S310 - our own server
            answer.read()

    for _ in range(watch.jobs):
        await asyncio.to_thread(start)


@contextlib.contextmanager
def stalled_reader(watch: Watch) -> Iterator[None]:
    """Hold a connection that asks for all events and reads none of them."""
    with contextlib.ExitStack() as stack:
        if watch.stalled:
            sock = stack.enter_context(socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, STALLED_BUFFER_BYTES)
            sock.connect(("127.0.0.1", watch.port))
            sock.sendall(request_of("/events", watch.headers))
        yield


def main() -> None:
    """Read a watch as JSON from standard input, print what came."""
    print(json.dumps(asyncio.run(observe(Watch(**json.load(sys.stdin))))))


if __name__ == "__main__":
    main()
