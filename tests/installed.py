"""Programs of other worlds that some tests need: where they are on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def where(name: str) -> str | None:
    """Return where a program is; None if it is not installed."""
    # Debian keeps the programs of each version of PostgreSQL in a folder of its own.
    return shutil.which(name) or shutil.which(name, path=os.pathsep.join(map(str, Path("/usr/lib/postgresql").glob("*/bin"))))


def python_of(version: str) -> str | None:
    """Return a Python of a version, such as 3.8, that starts: from `make clients`, pyenv or the path; None if there is none."""
    name = f"python{version}"
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    found = [str(ROOT / f".venv-{name}" / "bin" / name), *map(str, pyenv.glob(f"versions/{version}.*/bin/{name}")), shutil.which(name) or ""]
    # One of pyenv's on the path may be there and not start.
    return next((one for one in found if shutil.which(one) and not subprocess.run([one, "-c", ""], capture_output=True, check=False).returncode), None)
