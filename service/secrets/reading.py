"""Reads the file of a secret; with the standard library alone, because a health check does it every few seconds."""

from __future__ import annotations

import os
from pathlib import Path

MOST_BYTES = 64 * 1024


def read(path: Path) -> bytes:
    """Return what the file holds, without white space around it. Raises OSError, and ValueError for more than MOST_BYTES."""
    # A pipe in the place of the file would block.
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"holds more than {MOST_BYTES} bytes")
    return content.strip()


def whole(content: bytes) -> bytes:
    """Return all of it. Raises ValueError if there is nothing."""
    if not content:
        raise ValueError("is empty")
    return content


def first_line(content: bytes) -> bytes:
    """Return the first line. Raises ValueError if there is nothing."""
    return whole(content).split(b"\n", 1)[0].strip()
