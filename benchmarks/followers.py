"""Followers of `/v1/jobs`, a process of its own: each has to be told all that happens to its job, in order, and that it is over."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
import sys
import time
import urllib.request
from collections.abc import Mapping
from typing import Any

from benchmarks.probes import Meanwhile, cpu_seconds, resident_bytes
from benchmarks.streams import OPEN_SECONDS, request_of
from service.demo.processes import session_members

LINE = re.compile(rb'\{"seq":\s?(\d+),[^\n]*\n')
RUNS = re.compile(rb'"event":\s?"status",\s?"status":\s?"running"')


@dataclasses.dataclass(frozen=True)
class Follow:
    """
    What to start, and who follows it.

    body: of a job of *minions* that lasts until all follow it. jobs: how many are started. followers: of each.
    session, beside: process ids, as of a load. grace_seconds: what has not come that long after all follow is lost.
    """

    port: int
    headers: Mapping[str, str]
    body: str
    jobs: int
    followers: int
    minions: int
    session: int = 0
    grace_seconds: float = 120.0
    beside: Mapping[str, int] = dataclasses.field(default_factory=dict)


class Follower(asyncio.Protocol):
    """One follower. got: the number of the last happening, as long as none was left out or came twice. ran: it was told first that the job runs."""

    def __init__(self, follow: Follow, jid: str) -> None:
        self._request = request_of(f"/v1/jobs/{jid}/events", {**follow.headers, "Accept": "application/x-ndjson"})
        self._tail = b""
        self.opened: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.got = 0
        self.ran = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        assert isinstance(transport, asyncio.WriteTransport)  # noqa: S101 - what asyncio gives for a connection
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Count what comes in its order; a line that is cut waits for its rest."""
        if not self.opened.done():
            self.opened.set_result(b" 200 " in data[:20])
        whole, end = self._tail + data, 0
        for found in LINE.finditer(whole):
            if int(found[1]) == self.got + 1:
                self.got += 1
                self.ran |= self.got == 1 and RUNS.search(found[0]) is not None
            end = found.end()
        self._tail = whole[end:]
        # With what is before it: a head may end with 0 as well, of its request id, and come alone.
        if whole.endswith(b"\r\n0\r\n\r\n") and not self.over.done():
            self.over.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """The server has had enough of us."""
        del exc
        if not self.opened.done():
            self.opened.set_result(False)
        if not self.over.done():
            self.over.set_result(None)


async def observe(follow: Follow) -> dict[str, Any]:
    """Start the jobs, let all follow them, wait for their ends, and count."""
    loop = asyncio.get_running_loop()
    pids = session_members(follow.session)
    jids = [await loop.run_in_executor(None, _start, follow) for _ in range(follow.jobs)]
    memory = resident_bytes(pids)
    places = [jid for jid in jids for _ in range(follow.followers)]
    made = [await loop.create_connection(lambda jid=jid: Follower(follow, jid), "127.0.0.1", follow.port) for jid in places]  # type: ignore[misc]
    followers = [follower for _, follower in made]
    await asyncio.wait([follower.opened for follower in followers], timeout=OPEN_SECONDS)
    early = sum(follower.got for follower in followers)
    meanwhile, cpu, started = Meanwhile(follow.beside), cpu_seconds(follow.session), time.monotonic()
    await asyncio.wait([follower.over for follower in followers], timeout=follow.grace_seconds)
    used, seconds = cpu_seconds(follow.session) - cpu, time.monotonic() - started
    beside, grown = meanwhile.figures(), resident_bytes(pids) - memory
    for transport, _ in made:
        transport.close()
    # Each minion's, and that it is over. One whose returns came all at once was never seen to run.
    wanted, got = sum(follow.minions + 1 + follower.ran for follower in followers), sum(follower.got for follower in followers)
    return {
        "streams_open": sum(follower.opened.done() and follower.opened.result() for follower in followers),
        "delivered": got,
        "lost": wanted - got,
        "delivered_share": round(got / wanted, 4),
        "cpu_us": round(1e6 * used / max(1, got - early), 1),
        "rss_growth_mb": round(grown / 1e6, 1),
        "seconds": round(seconds, 2),
        "beside": beside,
    }


def _start(follow: Follow) -> str:
    headers = {**follow.headers, "Content-Type": "application/json"}
    asked = urllib.request.Request(f"http://127.0.0.1:{follow.port}/v1/jobs", follow.body.encode(), headers)
    with urllib.request.urlopen(asked, timeout=60) as answer:  # noqa: S310 - our own server
        jid: str = json.load(answer)["jid"]
        return jid


def main() -> None:
    """Read what to follow as JSON from standard input, print what came."""
    print(json.dumps(asyncio.run(observe(Follow(**json.load(sys.stdin))))))


if __name__ == "__main__":
    main()
