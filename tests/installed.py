"""Programs of other worlds that some tests need: where they are on this machine."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def where(name: str) -> str | None:
    """Return where a program is; None if it is not installed."""
    # Debian keeps the programs of each version of PostgreSQL in a folder of its own.
    return shutil.which(name) or shutil.which(name, path=os.pathsep.join(map(str, Path("/usr/lib/postgresql").glob("*/bin"))))
