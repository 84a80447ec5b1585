"""A relay between a sidecar and the master's event bus, that a test can cut."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import yaml

from service.demo.embedded import EmbeddedSalt

if TYPE_CHECKING:
    from typing_extensions import Self

BUS = "master_event_pub.ipc"
CHUNK = 65536


class Relay:
    """
    Listens in *folder* where a sidecar looks for the bus, and passes on what the real bus says.

    `master_config` is a copy of the master's that names the relay's folder.
    """

    def __init__(self, salt: EmbeddedSalt, folder: Path) -> None:
        options = yaml.safe_load(salt.master_config.read_text())
        self._bus = Path(options["sock_dir"]) / BUS
        self._path = folder / BUS
        self.master_config = folder / "master"
        self.master_config.write_text(yaml.safe_dump({**options, "sock_dir": str(folder)}))
        self._listener: socket.socket | None = None
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []  # guarded by _lock, like all below
        self._passed = b""

    def __enter__(self) -> Self:
        self.mend()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.cut()

    def mend(self) -> None:
        """Let callers in."""
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._path))
        self._listener.listen(8)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        """Break every connection and let nobody in."""
        self._path.unlink(missing_ok=True)
        with self._lock:
            ends, self._open = self._open, []
        for end in [*ends, *([self._listener] if self._listener else [])]:
            _break(end)
        self._listener = None

    def passed(self, what: bytes) -> bool:
        """Say whether these bytes have gone through."""
        with self._lock:
            return what in self._passed

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                reader, _ = listener.accept()
                bus = socket.socket(socket.AF_UNIX)
                bus.connect(str(self._bus))
                with self._lock:
                    self._open += [reader, bus]
                threading.Thread(target=self._pass_on, args=(bus, reader), daemon=True).start()

    def _pass_on(self, bus: socket.socket, reader: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := bus.recv(CHUNK):
                reader.sendall(chunk)
                with self._lock:
                    self._passed += chunk
        _break(bus)
        _break(reader)


def _break(end: socket.socket) -> None:
    """Wake whoever blocks on the socket, and close it."""
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
