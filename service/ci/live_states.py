"""States that end while their job goes on: in the group of a minion that is alone in its job, and beside the minions' names where the states of several come between each other."""

from __future__ import annotations

from typing import Any, Mapping

from service.ci.pipeline_log import Log, harmless

MOST_WELL_STATES = 1000
WORDS = {"unchanged": "ok", "changed": "changed", "would_change": "would change", "failed": "FAILED", "not_run": "FAILED", "started": "started"}


def lines_of_state(word: str, names: list[Any], seconds: Any, comment: Any) -> list[str]:
    """Return a state as a line, with its comment where it says more than that all is well."""
    took = f" ({float(seconds):.1f} s)" if isinstance(seconds, (int, float)) else ""
    head = f"  {word:>7}  {': '.join(dict.fromkeys(harmless(name) for name in names if name))}{took}"
    return [head] if word == "ok" else [head, *(f"           | {harmless(line)}" for line in str(comment or "").splitlines()[:20])]


class LiveStates:
    """Writes a state when it ends, and knows afterwards what need not be written again. expected: how many minions the job has."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.expected = 0
        self._open: str | None = None  # whose group is
        self._told: dict[str, dict[int, str]] = {}
        self._well = 0

    def ended(self, minion: str, event: dict[str, Any]) -> None:
        """Write what is told of a state."""
        word = WORDS.get(str(event.get("result")), "ended")
        is_alone = self.expected == 1
        if self._adds_to_many(word) and not is_alone:
            return
        lines = lines_of_state(word, [event.get("id"), event.get("name")], event.get("seconds"), event.get("comment"))
        if is_alone:
            self._begin(minion)
        for line in lines if is_alone else [f"{harmless(minion)}{lines[0]}"]:
            self._log.line(line)
        if is_alone or (word == "ok" and not self._log.folds):
            self._told.setdefault(minion, {})[int(event["number"])] = word

    def _adds_to_many(self, word: str) -> bool:
        """Say whether so many were written that another one that is well is no news."""
        self._well += word == "ok"
        if self._well == MOST_WELL_STATES + 1 and word == "ok":
            self._log.line("(from here on states that are well are not written one by one)")
        return self._well > MOST_WELL_STATES and word == "ok"

    def told(self, minion: str) -> Mapping[int, str]:
        """Return which states of a minion need not be written again, by their numbers, unless they have ended otherwise: a group that is folded shows all."""
        return self._told.get(minion, {})

    def returned(self, minion: str, title: str, lines: list[str]) -> None:
        """Write what else a minion has returned."""
        if self._open != minion:
            self._log.group(title, lines)
            return
        for line in lines:
            self._log.line(line)
        self.end()
        self._log.line(title)

    def end(self) -> None:
        """Something else is about to be written: no group is open from here on."""
        if self._open is not None:
            self._open = None
            self._log.end()

    def _begin(self, minion: str) -> None:
        if self._open != minion:
            self.end()
            self._open = minion
            self._log.begin(harmless(minion), live=True)
