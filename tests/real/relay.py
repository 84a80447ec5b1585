"""
What stands between a server and its master, or its callers: a relay of the event bus and a cable that a test can cut, and a gate before the request port
that it can shut.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
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


class Gate:
    """
    Stands before the master's request port. Shut it drops what comes, as a packet filter does: nobody is refused, and nobody is answered.

    `master_config` is a copy of the master's that names the gate's port. What was sent meanwhile arrives when the gate is opened, as TCP sends again.
    """

    def __init__(self, salt: EmbeddedSalt, folder: Path) -> None:
        self._master = ("127.0.0.1", salt.ret_port)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=0)
        self._address = self._listener.getsockname()
        self._is_open = threading.Event()
        self._waiting: list[socket.socket] = []
        self.master_config = folder / "gated-master"
        self.master_config.write_text(yaml.safe_dump({**yaml.safe_load(salt.master_config.read_text()), "ret_port": self._address[1]}))

    def __enter__(self) -> Self:
        self._is_open.set()
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.open()
        _break(self._listener)

    def open(self) -> None:
        """Pass everything on, and let callers in."""
        self._is_open.set()
        for end in self._waiting:
            end.close()
        self._waiting.clear()

    def shut(self) -> None:
        """Pass nothing on. Linux drops whoever wants to connect where the queue of a listener is full, so fill it."""
        self._is_open.clear()
        with contextlib.suppress(TimeoutError):
            while True:
                self._waiting.append(socket.socket())
                self._waiting[-1].settimeout(0.5)
                self._waiting[-1].connect(self._address)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                caller, _ = self._listener.accept()
                self._is_open.wait()
                master = socket.create_connection(self._master)
                for source, target in ((caller, master), (master, caller)):
                    threading.Thread(target=_pass_on, args=(source, target, self._is_open.wait), daemon=True).start()


class Cable:
    """
    Stands before a port of loopback: passes on what its callers send, and what they are answered, until it is cut.

    host: the address of the port, and its own. listens: its own port, 0 for any.
    """

    def __init__(self, port: int, host: str = "127.0.0.1", listens: int = 0) -> None:
        self._to = (host, port)
        self._listener = socket.create_server((host, listens))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []  # guarded by _lock

    def __enter__(self) -> Self:
        self._accept_at(self._listener)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.sever()

    def cut(self) -> None:
        """Break every connection; new ones are passed on."""
        with self._lock:
            ends, self._open = self._open, []
        for end in ends:
            _break(end)

    def sever(self) -> None:
        """Break every connection, and let nobody in."""
        _break(self._listener)
        self.cut()

    def mend(self) -> None:
        """Let callers in again."""
        self._listener = socket.create_server((self._to[0], self.port))
        self._accept_at(self._listener)

    def _accept_at(self, listener: socket.socket) -> None:
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                caller, _ = listener.accept()
                self._connect(caller)

    def _connect(self, caller: socket.socket) -> None:
        try:
            server = socket.create_connection(self._to)
        except OSError:
            _break(caller)
            return
        with self._lock:
            self._open += [caller, server]
        for source, target in ((caller, server), (server, caller)):
            threading.Thread(target=_pass_on, args=(source, target), daemon=True).start()


def _pass_on(source: socket.socket, target: socket.socket, wait: Callable[[], object] = bool) -> None:
    with contextlib.suppress(OSError):
        while chunk := source.recv(CHUNK):
            wait()
            target.sendall(chunk)
    _break(source)
    _break(target)


def _break(end: socket.socket) -> None:
    """Wake whoever blocks on the socket, and close it."""
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
