"""Secrets in files: read again when they are replaced, and never shown."""

from __future__ import annotations

import hmac
import math
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from service.errors import ConfigFault, InvalidConfiguration
from service.secrets.reading import first_line, read

T = TypeVar("T")
# A rotation is over by then; a secret whose file is still away was taken away.
ROTATION_SECONDS = 60.0


class SecretFile(Generic[T]):
    """
    The secret in a file. Read before its first use, and again whenever the file was changed or replaced.

    A rotation may leave the file absent, unreadable or empty for a moment, so what was read last stays in force until there is something better,
    or for *keep_seconds* after somebody first asked in vain: of what opens a door, taking the file away has to close it.

    setting: names the file in faults. parse: makes the secret of the file's content, or raises ValueError with a message that quotes none of it.
    on_fault: hears once of a file that cannot be read, and again after it could.
    """

    def __init__(
        self,
        path: Path,
        setting: str,
        parse: Callable[[bytes], T],
        on_fault: Callable[[ConfigFault], object] = lambda _fault: None,
        *,
        keep_seconds: float = math.inf,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._setting = setting
        self._parse = parse
        self._on_fault = on_fault
        self._keep_seconds = keep_seconds
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._last: tuple[tuple[int, ...], T] | None = None  # what the file was like, and its secret; guarded by _lock, like the next
        self._failing_since: float | None = None

    def value(self) -> T:
        """Return the secret. Raises InvalidConfiguration while there is none in force."""
        try:
            with self._lock:
                secret = self._current()
                self._failing_since = None
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
        now = self._monotonic()
        with self._lock:
            last, since = self._last, self._failing_since
            self._failing_since = now if since is None else since
        if since is None:
            self._on_fault(fault)
        if last is None or now - (now if since is None else since) > self._keep_seconds:
            raise InvalidConfiguration([fault])
        return last[1]

    def _fault(self, exc: OSError | ValueError) -> ConfigFault:
        problem = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
        fix = "write the secret into it, readable for the sidecar only; `head -c 32 /dev/urandom | base64` makes one"
        return ConfigFault(self._setting, f"{self._path}: {problem}", fix)


class BearerFile:
    """The token that a scraper sends as `Authorization: Bearer`. path: of its file; None lets everybody see everything."""

    def __init__(
        self, path: Path | None, on_fault: Callable[[ConfigFault], object] = lambda _fault: None, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._file = SecretFile(path, "ops.token_file", first_line, on_fault, keep_seconds=ROTATION_SECONDS, monotonic=monotonic) if path else None

    def is_sent(self, authorization: str) -> bool:
        """Say whether an `Authorization` header carries the token; nobody can send one that is not in force."""
        if self._file is None:
            return True
        try:
            token = self._file.value()
        except InvalidConfiguration:
            return False
        return is_same(sent_token(authorization), token)

    def faults(self) -> list[ConfigFault]:
        """Return why nobody could ever send the token."""
        return self._file.faults() if self._file else []


def sent_token(authorization: str) -> str:
    """Return the token in `Authorization: Bearer TOKEN`, nothing for another scheme."""
    scheme, _, token = authorization.strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def is_same(sent: str, secret: bytes) -> bool:
    """Say whether a header of the request holds a secret, in a time that tells nothing of it but its length. sent: as WSGI has it, a character for each byte."""
    return hmac.compare_digest(sent.encode("latin-1", "replace"), secret)
