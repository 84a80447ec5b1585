"""Secrets in files: read again when they are replaced, and never shown."""

from __future__ import annotations

import hmac
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from service.errors import ConfigFault, InvalidConfiguration
from service.secrets.reading import first_line, read

T = TypeVar("T")


class SecretFile(Generic[T]):
    """
    The secret in a file. Read before its first use, and again whenever the file was changed or replaced.

    A rotation may leave the file absent, unreadable or empty for a moment, so what was read last stays in force until there is something better.

    setting: names the file in faults. parse: makes the secret of the file's content, or raises ValueError with a message that quotes none of it.
    on_fault: hears once of a file that cannot be read, and again after it could.
    """

    def __init__(self, path: Path, setting: str, parse: Callable[[bytes], T], on_fault: Callable[[ConfigFault], object] = lambda _fault: None) -> None:
        self._path = path
        self._setting = setting
        self._parse = parse
        self._on_fault = on_fault
        self._lock = threading.Lock()
        self._last: tuple[tuple[int, ...], T] | None = None  # what the file was like, and its secret; guarded by _lock, like the next
        self._failing = False

    def value(self) -> T:
        """Return the secret. Raises InvalidConfiguration while none was ever read."""
        try:
            with self._lock:
                secret = self._current()
                self._failing = False
        except (OSError, ValueError) as exc:
            return self._last_good(self._fault(exc))
        return secret

    def faults(self) -> list[ConfigFault]:
        """Return why there is no secret."""
        try:
            self.value()
        except InvalidConfiguration as exc:
            return exc.faults
        return []

    def _current(self) -> T:
        stat = self._path.stat()
        state = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        if self._last is None or self._last[0] != state:
            self._last = (state, self._parse(read(self._path)))
        return self._last[1]

    def _last_good(self, fault: ConfigFault) -> T:
        with self._lock:
            last, told, self._failing = self._last, self._failing, True
        if not told:
            self._on_fault(fault)
        if last is None:
            raise InvalidConfiguration([fault])
        return last[1]

    def _fault(self, exc: OSError | ValueError) -> ConfigFault:
        problem = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
        fix = "write the secret into it, readable for the sidecar only; `head -c 32 /dev/urandom | base64` makes one"
        return ConfigFault(self._setting, f"{self._path}: {problem}", fix)


class BearerFile:
    """The token that a scraper sends as `Authorization: Bearer`. path: of its file; None lets everybody see everything."""

    def __init__(self, path: Path | None, on_fault: Callable[[ConfigFault], object] = lambda _fault: None) -> None:
        self._file = SecretFile(path, "ops.token_file", first_line, on_fault) if path else None

    def is_sent(self, authorization: str) -> bool:
        """Say whether an `Authorization` header carries the token; nobody can send one that was never read."""
        if self._file is None:
            return True
        scheme, _, sent = authorization.strip().partition(" ")
        try:
            token = self._file.value()
        except InvalidConfiguration:
            return False
        return scheme.lower() == "bearer" and hmac.compare_digest(sent.strip().encode("utf-8", "surrogateescape"), token)

    def faults(self) -> list[ConfigFault]:
        """Return why nobody could ever send the token."""
        return self._file.faults() if self._file else []
