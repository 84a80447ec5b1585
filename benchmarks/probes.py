"""What the kernel knows of a process: CPU time, memory, descriptors, and who listens on the master's event bus."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from service.demo.processes import session_members

if TYPE_CHECKING:
    from typing_extensions import Self

LISTENING = "00010000"
SAMPLE_SECONDS = 0.01


def cpu_seconds(session: int) -> float:
    """Return the CPU time of a session's processes and of their children that have ended. Source: /proc/PID/stat, fields 14 to 17."""
    return sum(map(process_seconds, session_members(session)))


def process_seconds(pid: int) -> float:
    """Return the CPU time of a process and of its children that have ended, 0 if it is gone."""
    fields = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def written_bytes(pid: int) -> int:
    """Return what a process had written to disks, in whole pages, 0 if it is gone. Source: /proc/PID/io, write_bytes."""
    lines = _read(Path(f"/proc/{pid}/io")).splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("write_bytes:")), 0)


def thread_ms(pid: int) -> dict[int, tuple[str, float]]:
    """Return each thread of a process with its name for the kernel and its CPU time. Source: /proc/PID/task/TID/schedstat, field 1, in ns."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        words = _read(task / "schedstat").split()
        if words:
            found[int(task.name)] = (_read(task / "comm").strip(), int(words[0]) / 1e6)
    return found


def threads_seconds(session: int) -> float:
    """Return the CPU time of the threads that a session has now, in nanoseconds' steps where `cpu_seconds` has hundredths of a second."""
    return sum(ms for pid in session_members(session) for _, ms in thread_ms(pid).values()) / 1000


class Meanwhile:
    """
    What is used from now on beside a server: by sessions, which are given by name, and of the whole machine.

    Figures of a session are milliseconds of CPU time per request, and cores, which are CPU seconds per second.
    """

    def __init__(self, sessions: Mapping[str, int]) -> None:
        self._sessions = sessions
        self._before = self._now()

    def figures(self, requests: int | None = None) -> dict[str, float]:
        """Return what was used until now. requests: None where there are none to share it."""
        before, after = self._before, self._now()
        used = {name: after[name] - before[name] for name in after}
        made = {f"{name}_cores": round(used[name] / used["seconds"], 3) for name in self._sessions}
        made["beside_cores"] = round(sum(made.values()), 3)
        if requests is not None:
            made |= {f"{name}_ms": round(1000 * used[name] / requests, 3) if requests else 0.0 for name in self._sessions}
        return made | {"idle_percent": round(100 * used["idle"] / max(1.0, used["machine"]), 1)}

    def _now(self) -> dict[str, float]:
        # Source: /proc/stat, first line: user, nice, system, idle, iowait, irq, softirq, steal; what follows is in them already.
        ticks = [int(word) for word in _read(Path("/proc/stat")).partition("\n")[0].split()[1:9]]
        machine = {"seconds": time.monotonic(), "machine": float(sum(ticks)), "idle": float(sum(ticks[3:5]))}
        return {**machine, **{name: cpu_seconds(session) for name, session in self._sessions.items()}}


def resident_bytes(pids: Iterable[int]) -> int:
    """Return the resident memory of processes."""
    return sum(_status(pid, "VmRSS") for pid in pids)


def proportional_bytes(pids: Iterable[int]) -> int:
    """Return the memory of processes, of what several share a part for each. Source: /proc/PID/smaps_rollup, Pss."""
    rows = (line.split() for pid in pids for line in _read(Path(f"/proc/{pid}/smaps_rollup")).splitlines())
    return sum(int(row[1]) * 1024 for row in rows if row[0] == "Pss:")


def forget_peak(pids: Iterable[int]) -> None:
    """Let the kernel begin anew with the highest resident memory of processes. Source: man 5 proc, clear_refs."""
    for pid in pids:
        with contextlib.suppress(OSError):
            Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_bytes(pids: Iterable[int]) -> int:
    """Return the highest resident memory of processes since it was forgotten, each at its own highest."""
    return sum(_status(pid, "VmHWM") for pid in pids)


def descriptors(pid: int) -> int:
    """Return how many files and sockets a process has open."""
    return len(_links(pid))


def threads(pid: int) -> int:
    """Return how many threads a process has."""
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def owner_of(path: str, candidates: Iterable[int]) -> int | None:
    """Return which of some processes listens on a Unix socket. Of several that inherited it the last one serves it."""
    marks = {f"socket:[{row[6]}]" for row in _unix_rows(path) if row[3] == LISTENING}
    owners = [pid for pid in candidates if marks & set(_links(pid))]
    return max(owners, default=None)


class BusWatch:
    """
    Counts the connections that are opened on a Unix socket, by looking more often than any of them could come and go.

    active: look at all.
    """

    def __init__(self, path: str, *, active: bool = True) -> None:
        self._path = path
        self._active = active
        self._over = threading.Event()
        self._seen: set[str] = set()
        self._before: set[str] = set()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._before = self._open()
        if self._active:
            self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        if self._active:
            self._thread.join()

    @property
    def opened(self) -> int:
        """How many were opened since the start."""
        return len(self._seen - self._before)

    def _open(self) -> set[str]:
        return {row[6] for row in _unix_rows(self._path) if row[3] != LISTENING}

    def _watch(self) -> None:
        while not self._over.wait(SAMPLE_SECONDS):
            self._seen |= self._open()


def _unix_rows(path: str) -> list[list[str]]:
    """Return the rows of a socket's path. Source: /proc/net/unix: Num RefCount Protocol Flags Type St Inode Path."""
    rows = (line.split() for line in _read(Path("/proc/net/unix")).splitlines() if line.endswith(path))
    return [row for row in rows if len(row) == 8]


def _status(pid: int, name: str) -> int:
    for line in _read(Path(f"/proc/{pid}/status")).splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0


def _links(pid: int) -> list[str]:
    try:
        return [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]  # noqa: PTH115 - they are no paths
    except OSError:
        return []


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
