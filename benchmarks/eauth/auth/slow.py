"""An eauth module as slow as a directory across the network: it waits, and takes one password. The master of a benchmark loads it."""

from __future__ import annotations

import time

SECONDS = 0.3
PASSWORD = "a-right-one"  # noqa: S105 - opens a benchmark's master alone


def auth(username: str, password: str) -> bool:
    """Say whether the password is right, whoever asks."""
    del username
    time.sleep(SECONDS)
    return password == PASSWORD
