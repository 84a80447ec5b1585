"""A job that lasts until the test lets it end, however slow the machine is."""

from __future__ import annotations

import shlex
from pathlib import Path

# Where a test fails, its job ends too.
LONGEST_SECONDS = 300


class Held:
    """What a minion is to do: nothing, until `let_go`. It returns "let go"."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._end = folder / "let-go"

    @property
    def low(self) -> dict[str, object]:
        """The function and its arguments, for a low."""
        end, mark = (shlex.quote(str(path)) for path in (self._end, self._folder / "runs"))
        wait = f"touch {mark}-$$; until [ -e {end} ]; do sleep 0.1; done; echo let go"
        return {"client": "local", "fun": "cmd.run", "arg": [wait], "kwarg": {"timeout": LONGEST_SECONDS}}

    @property
    def running(self) -> int:
        """How many minions have begun with it."""
        return len(list(self._folder.glob("runs-*")))

    def let_go(self) -> None:
        """Let it return, on every minion."""
        self._end.touch()
