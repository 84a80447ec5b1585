"""Capture: whatever prints, to a stream or straight to a file descriptor, becomes log lines."""

from __future__ import annotations

import fcntl
import io
import os
import threading
from collections.abc import Callable

Emit = Callable[[str], None]

# A longer line is cut into pieces of this many characters.
LINE_LIMIT = 8192

# fcntl(2). Python code that prints while it holds the interpreter's lock can only wait for the draining thread if there is room in the pipe.
_PIPE_BYTES = 1024 * 1024


class Lines:
    """Assembles pieces of bytes into lines."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Take a piece and emit every line it completes."""
        *complete, self._rest = (self._rest + data).split(b"\n")
        for line in complete:
            self._say(line)
        if len(self._rest) >= LINE_LIMIT:
            self.flush()

    def flush(self) -> None:
        """Emit what has no line feed yet."""
        rest, self._rest = self._rest, b""
        self._say(rest)

    def _say(self, line: bytes) -> None:
        for start in range(0, len(line), LINE_LIMIT):
            text = line[start : start + LINE_LIMIT].decode("utf-8", "backslashreplace").strip()
            if text:
                self._emit(text)


class _PerThread(threading.local):
    """A half-written line of one thread never mixes with another's."""

    def __init__(self, emit: Emit) -> None:
        self.lines = Lines(emit)


class _Raw(io.RawIOBase):
    """The `buffer` of a LineLogger, for code that writes bytes to `sys.stdout.buffer`."""

    def __init__(self, lines: _PerThread) -> None:
        self._lines = lines

    def writable(self) -> bool:
        return True

    def write(self, data: io.RawIOBase | bytes | bytearray | memoryview, /) -> int:  # type: ignore[override]
        taken = bytes(data)  # type: ignore[arg-type]
        self._lines.lines.feed(taken)
        return len(taken)


class LineLogger(io.TextIOBase):
    """Stands in for `sys.stdout` or `sys.stderr`: each line goes to *emit*, in the thread that wrote it, so with its request id."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, emit: Emit, fd: int) -> None:
        self._lines = _PerThread(emit)
        self._fd = fd
        self.buffer = _Raw(self._lines)

    def writable(self) -> bool:
        """Tell that this stream can be written."""
        return True

    def write(self, text: str, /) -> int:
        """Take text; complete lines are logged at once."""
        self._lines.lines.feed(text.encode("utf-8", "backslashreplace"))
        return len(text)

    def flush(self) -> None:
        """Log what this thread has written without a line feed."""
        self._lines.lines.flush()

    def fileno(self) -> int:
        """Return the descriptor this stream stands for; it is captured too."""
        return self._fd


class FdCapture:
    """Makes a file descriptor the entrance of a pipe whose other end is drained by a thread; children inherit it."""

    def __init__(self, fd: int, emit: Emit) -> None:
        self._fd = fd
        self._lines = Lines(emit)
        self._reader, writer = os.pipe()
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        os.dup2(writer, fd)
        os.close(writer)
        self._thread = threading.Thread(target=self._drain, name=f"capture-{fd}", daemon=True)
        self._thread.start()

    def close(self, timeout: float) -> None:
        """Send the descriptor to /dev/null and log what was still in the pipe; a child that keeps it open is waited for no longer than *timeout*."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._fd)
        os.close(nowhere)
        self._thread.join(timeout)

    def _drain(self) -> None:
        with os.fdopen(self._reader, "rb", buffering=0) as pipe:
            while data := pipe.read(65536):
                self._lines.feed(data)
        self._lines.flush()
