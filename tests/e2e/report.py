"""What was found, as it goes on the terminal and as a table at the end."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator


class Report:
    """Collects evidence: one line for each fact, under the step that found it."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._rows: list[tuple[str, str, str]] = []
        self._step = ""
        self.failed: set[str] = set()  # the steps that raised

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Announce a step, and say how long it took."""
        self._step = name
        began = time.monotonic()
        print(f"[{began - self._started:5.0f} s] {name}", flush=True)
        try:
            yield
        except Exception:
            self.failed.add(name)
            raise
        print(f"          {name}: {time.monotonic() - began:.1f} s", flush=True)

    def found(self, what: str, value: object) -> None:
        """Note a fact."""
        self._rows.append((self._step, what, str(value)))
        print(f"          {what}: {value}", flush=True)

    def table(self) -> str:
        """Return all facts."""
        width = max((len(what) for _, what, _ in self._rows), default=0)
        lines, before = [], None
        for step, what, value in self._rows:
            if step != before:
                lines.append(f"\n{step}")
                before = step
            lines.append(f"  {what:<{width}}  {value}")
        return "\n".join([*lines, f"\ntotal: {time.monotonic() - self._started:.0f} s"])
