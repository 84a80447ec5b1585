"""Where records go: a file that may be renamed while we write, and standard output."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from service.audit.chain import Chain

# No line of ours is longer, so this much of a file's end holds its last one.
_TAIL_BYTES = 1024 * 1024
# What fsync says of a device that has nothing to sync.
_NO_FSYNC = frozenset({errno.EINVAL, errno.ENOTSUP})


class Sink(Protocol):
    """Takes records; called from one thread only."""

    name: str

    def write(self, records: Sequence[bytes]) -> None:
        """Write all of them, JSON objects, or raise OSError."""

    def sync(self) -> None:
        """Bring what was written to the disk, or raise OSError."""

    def close(self) -> None:
        """Let go of what is open."""


class LineSink:
    """Standard output, by way of the log's own sink, so that no record lands inside another line."""

    name = "stdout"

    def __init__(self, write: Callable[[bytes], bool]) -> None:
        """write: writes one line before it returns; False if that was not to be done in time."""
        self._write = write

    def write(self, records: Sequence[bytes]) -> None:
        """Write one by one; at the first that standard output does not take all count as failed."""
        for record in records:
            if not self._write(record):
                raise BlockingIOError(errno.EAGAIN, "standard output does not take it")

    def sync(self) -> None: ...
    def close(self) -> None: ...


class FileSink:
    """A file that only grows. One that was renamed or deleted is created again; the chain goes on in the new file."""

    name = "file"

    def __init__(self, path: Path, *, chained: bool, fsync: bool) -> None:
        """fsync: after each write."""
        self._path = path
        self._chained = chained
        self._fsync = fsync
        self._fd: int | None = None
        self._place: tuple[int, int] | None = None  # device and inode of what is open
        self._chain: Chain | None = None
        self._torn = False

    def write(self, records: Sequence[bytes]) -> None:
        """Append all, or raise OSError and leave the file as it was."""
        fd = self._open()
        lines, chain = self._chain.extended(records) if self._chain else (list(records), None)
        data = b"\n" * self._torn + b"\n".join(lines) + b"\n"
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(fd, left) :]
            if self._fsync:
                self.sync()
        except OSError:
            self._take_back(fd, len(data) - len(left))
            raise
        self._torn = False
        self._chain = chain

    def sync(self) -> None:
        """Bring what was written to the disk."""
        if self._fd is None:
            return
        try:
            os.fdatasync(self._fd)
        except OSError as exc:
            if exc.errno not in _NO_FSYNC:
                raise

    def close(self) -> None:
        """Close the file; the next write opens it again."""
        if self._fd is not None:
            fd, self._fd = self._fd, None
            os.close(fd)

    def _open(self) -> int:
        if self._fd is not None and self._in_place():
            return self._fd
        with contextlib.suppress(OSError):
            self.sync()
        self.close()
        # Not blocking: a pipe that nobody reads must be an error, not an endless wait.
        self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY, 0o600)
        opened = os.fstat(self._fd)
        self._place = opened.st_dev, opened.st_ino
        last, self._torn = _last_line(self._path, self._fd)
        if self._chained and (self._chain is None or last):
            self._chain = Chain.after(last) if last else Chain()
        return self._fd

    def _in_place(self) -> bool:
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return False
        return (there.st_dev, there.st_ino) == self._place

    def _take_back(self, fd: int, count: int) -> None:
        """Cut off the last bytes that we wrote, a piece of a record; where that is not allowed, the next record begins on a line of its own."""
        if not count:
            return
        try:
            # Appending leaves the descriptor's offset behind what it wrote.
            os.ftruncate(fd, os.lseek(fd, 0, os.SEEK_CUR) - count)
        except OSError:
            self._torn = stat.S_ISREG(os.fstat(fd).st_mode)


def _last_line(path: Path, fd: int) -> tuple[bytes, bool]:
    """Return a file's last line, empty if there is none, and whether it lacks its end, as after a crash."""
    size = os.fstat(fd).st_size
    if not size:
        return b"", False
    with path.open("rb") as file, contextlib.suppress(OSError):
        file.seek(max(0, size - _TAIL_BYTES))
        tail = file.read(_TAIL_BYTES)
        return tail.removesuffix(b"\n").rpartition(b"\n")[2], not tail.endswith(b"\n")
    return b"", False
