"""A job that lasts until the test lets it end, however slow the machine is."""

from __future__ import annotations

import shlex
from pathlib import Path

# Where a test fails, its job ends too.
LONGEST_SECONDS = 300


class Held:
    """What a minion is to do: nothing, until `let_go`. It returns "let go"."""

    def __init__(self, folder: Path) -> None:
        self._end = folder / "let-go"

    @property
    def low(self) -> dict[str, object]:
        """The function and its arguments, for a low."""
        wait = f"until [ -e {shlex.quote(str(self._end))} ]; do sleep 0.1; done; echo let go"
        return {"client": "local", "fun": "cmd.run", "arg": [wait], "kwarg": {"timeout": LONGEST_SECONDS}}

    def let_go(self) -> None:
        """Let it return, on every minion."""
        self._end.touch()
