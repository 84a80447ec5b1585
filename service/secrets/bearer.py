"""The ops token: a secret in a file that a scraper sends as `Authorization: Bearer`."""

from __future__ import annotations

import hmac
import threading
from pathlib import Path

from service.errors import ConfigFault
from service.settings.locations import read_token
from service.settings.settings import OpsSettings


class BearerFile:
    """
    Knows the token in a file, and reads it anew when the file has changed, so that it can be rotated.

    path: None lets everybody see everything. A file that cannot be read, or is empty, lets nobody.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._read: tuple[tuple[int, int, int], bytes] | None = None  # what the file was like, and its token; guarded by _lock

    def is_sent(self, authorization: str) -> bool:
        """Say whether an `Authorization` header carries the token."""
        if self._path is None:
            return True
        scheme, _, sent = authorization.strip().partition(" ")
        token = self._token(self._path)
        return scheme.lower() == "bearer" and bool(token) and hmac.compare_digest(sent.strip().encode("utf-8", "surrogateescape"), token)

    def _token(self, path: Path) -> bytes:
        try:
            stat = path.stat()
            state = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            with self._lock:
                if self._read is None or self._read[0] != state:
                    self._read = (state, read_token(path))
                return self._read[1]
        except OSError:
            return b""


def token_faults(ours: OpsSettings) -> list[ConfigFault]:
    """Return why nobody could ever send the token."""
    if ours.token_file is None:
        return []
    try:
        if read_token(ours.token_file):
            return []
        problem = "is empty, so nobody could read /metrics"
    except OSError as exc:
        problem = f"cannot be read ({exc.strerror})"
    return [ConfigFault("ops.token_file", f"{ours.token_file} {problem}", "put a token on its first line, readable by the sidecar's user")]
