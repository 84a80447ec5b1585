"""`salt-sidecar serve` that dies at a point of the protocol of docs/jobs.md, which a file names; the command to run instead is its arguments."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from service.cli import main
from service.gateway.transport.request_pool import Channels
from service.gateway.transport.wire import RequestSocket
from service.jobs.stores.postgres.postgres_store import PostgresStore
from service.jobs.stores.sqlite_store import SqliteStore
from service.jobs.stores.store import Change, Store

# In the order in which a job passes them.
POINTS = ("before-intent", "before-publish", "in-flight", "taken", "returned", "stored")
# For the bytes to leave; the answer is not read meanwhile.
FLIGHT_SECONDS = 0.2
FUNCTION = "cmd.run"


def pass_by(point: str) -> None:
    """Die, as by `kill -9`, if this is the point."""
    if _aim() == point:
        os._exit(9)


def _aim() -> str:
    aim = Path(os.environ["DIE_AT"])
    return aim.read_text() if aim.exists() else ""


def lay_mines() -> None:
    """Have the process look at each point whether it is to die; beside the file that says so it leaves one for each job, by its key, that it has stored as running."""
    store: type[Store] = PostgresStore if "postgresql:" in os.environ.get("SIDECAR_JOBS_STORE", "") else SqliteStore
    intend, save, send, ask = store.intend, store.save, Channels.send, RequestSocket.ask

    def intending(self: Store, *given: Any) -> Any:
        pass_by("before-intent")
        taken = intend(self, *given)
        pass_by("before-publish")
        return taken

    def saving(self: Store, changes: Iterable[Change]) -> set[str]:
        some = list(changes)
        heard = any(part.source == "bus" for change in some for part in change.parts.values())
        if heard:
            pass_by("returned")
        lost = save(self, some)
        for change in some:
            if change.job.status == "running":
                Path(f"{os.environ['DIE_AT']}.{change.job.key}").touch()
        if heard:
            pass_by("stored")
        return lost

    def sending(self: Channels, load: dict[str, Any], **options: Any) -> Any:
        answer = send(self, load, **options)
        if load["cmd"] == "publish" and load["fun"] == FUNCTION:
            pass_by("taken")
        return answer

    def asking(self: RequestSocket, message: bytes, on_answer: Callable[[bytes], None]) -> None:
        ask(self, message, on_answer)
        if b"publish" in message and FUNCTION.encode() in message:
            time.sleep(FLIGHT_SECONDS)
            pass_by("in-flight")

    for owner, name, mined in ((store, "intend", intending), (store, "save", saving), (Channels, "send", sending), (RequestSocket, "ask", asking)):
        setattr(owner, name, mined)


if __name__ == "__main__":
    lay_mines()
    # `python -m service serve ...`
    sys.exit(main(sys.argv[4:]))
