"""`salt-sidecar serve` whose threads carry their names where the system shows them, as Python itself sees to from 3.14 on; the command to run instead is its arguments."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from service.cli import main

# The system cuts them to this. Source: proc_pid_comm(5).
LONGEST = 15


def threads_of(pid: int) -> set[str]:
    """Return the names of the threads of a process that runs so, those of pools without their numbers."""
    names = (path.read_text().strip() for path in Path(f"/proc/{pid}/task").glob("*/comm"))
    return {name.rstrip("0123456789").rstrip("-_") for name in names}


def show_names() -> None:
    run = threading.Thread.run

    def running(self: threading.Thread) -> None:
        Path(f"/proc/self/task/{threading.get_native_id()}/comm").write_text(self.name[:LONGEST])
        run(self)

    setattr(threading.Thread, "run", running)  # noqa: B010 - mypy


if __name__ == "__main__":
    show_names()
    # `python -m service serve ...`
    sys.exit(main(sys.argv[4:]))
