"""What a job does, told as it happens, and once more at its end."""

from __future__ import annotations

import json
import re
import urllib.parse
from typing import Any, Mapping

from service.ci.live_states import LiveStates, lines_of_state
from service.ci.pipeline_log import Log, harmless
from service.ci.remote import Remote

NOTHING: Mapping[int, str] = {}
MOST_LINES, MOST_ANNOTATIONS, MOST_WELL, MOST_ROWS = 200, 10, 50, 500


def lines_of(returned: Any, told: Mapping[int, str] = NOTHING) -> list[str]:
    """Return a minion's return as lines: one for each state, or the value as it is. told: how states ended that were written already, by their numbers."""
    states = returned.values() if isinstance(returned, dict) else ()
    if not states or not all(isinstance(state, dict) and "result" in state for state in states):
        text = returned if isinstance(returned, str) else json.dumps(returned, indent=2, ensure_ascii=False, sort_keys=True)
        return [f"  | {harmless(line)}" for line in text.splitlines()[:MOST_LINES]] + (["  | ..."] if text.count("\n") >= MOST_LINES else [])
    ordered = sorted(states, key=lambda one: str(one.get("__run_num__", 0)).zfill(6))
    return [line for state in ordered for line in _lines_of_chunk(state, told)]


def _lines_of_chunk(state: dict[str, Any], told: Mapping[int, str]) -> list[str]:
    result, took, number = state.get("result"), state.get("duration"), state.get("__run_num__")
    word = "would change" if result is None else "FAILED" if not result else "changed" if state.get("changes") else "ok"
    if isinstance(number, int) and told.get(number) == word:
        return []
    seconds = took / 1000 if isinstance(took, (int, float)) else None
    return lines_of_state(word, [state.get("__id__"), state.get("name")], seconds, state.get("comment", ""))


def _failures_in(lines: list[str]) -> list[str]:
    """Return the lines of states that have failed, with their comments; all of what is no states."""
    found: list[str] = []
    has_failed = True
    for line in lines:
        if not line.lstrip().startswith("|"):
            has_failed = line.lstrip().startswith("FAILED")
        if has_failed:
            found.append(line)
    return found


class Telling:
    """Tells a job as it happens, and what has become of it. after: the number of the last happening that was told."""

    def __init__(self, remote: Remote, log: Log, jid: str) -> None:
        self._remote, self._log, self._jid = remote, log, jid
        self.after = 0
        self._states = LiveStates(log)
        self._well = 0
        self._failures: list[tuple[str, list[str]]] = []

    def happened(self, event: dict[str, Any]) -> None:
        """Write what one event says. Raises Away, before anything is written."""
        kind, status = event.get("event"), event.get("status")
        self._states.expected = event.get("expected", self._states.expected)
        if kind == "state":
            self._states.ended(str(event["minion"]), event)
        elif kind == "minion" and status in ("ok", "failed"):
            self._returned(str(event["minion"]), event)
        elif kind != "minion" or status not in ("waiting", "running"):
            self._states.end()
            self._log.line(self._line_of(event))
        self.after = int(event["seq"])

    def _line_of(self, event: dict[str, Any]) -> str:
        kind, status = event.get("event"), event.get("status")
        if kind == "minion":
            return f"{harmless(event['minion'])}: {status}{why_of(event)}"
        if kind == "gap":
            return "(more happened than is kept; what follows is the end)"
        if kind == "step":
            return f"step {event['step']}, job {event['jid']}: {status}{why_of(event)}"
        if kind == "wave":
            return f"wave {event['wave']} of {event['of']}: {'waits for its owner' if event.get('needs_owner') else str(event['minions']) + ' minions'}"
        return f"job {self._jid}: {status or kind}{why_of(event)}"

    def _returned(self, minion: str, event: dict[str, Any]) -> None:
        title = f"{harmless(minion)}: {'ok' if event['status'] == 'ok' else 'FAILED'}{why_of(event)}"
        if event["status"] == "ok":
            self._well += 1
            if self._well > MOST_WELL:
                self._log.line(title)
                return
        part = self._remote.ask("GET", f"/v1/jobs/{self._jid}/minions/{urllib.parse.quote(minion, safe='')}")
        omitted = ["  (its return was too large to be kept)"] if part.get("omitted") else None
        lines = omitted or lines_of(part.get("return"))
        self._states.returned(minion, title, omitted or lines_of(part.get("return"), self._states.told(minion)))
        if event["status"] != "ok" and len(self._failures) < MOST_LINES:
            self._failures.append((minion, _failures_in(lines)[:20]))

    def summary(self, job: dict[str, Any], url: str) -> None:
        """Write the failures once more, and what the job has come to."""
        self._states.end()
        for number, (minion, lines) in enumerate(self._failures):
            self._log.line(f"FAILED on {harmless(minion)}")
            for line in lines:
                self._log.line(line)
            if number < MOST_ANNOTATIONS:
                self._log.annotate(harmless(minion), " ".join(line.strip(" |") for line in lines) or "failed")
        counts = ", ".join(f"{count} {status}" for status, count in sorted((job.get("counts") or {}).items())) or "no minions"
        self._log.line(f"job {self._jid}: {job['status']}{why_of(job)}: {counts} (exit code {exit_code_of(job)})")
        self._log.line(url)
        rows = [
            f"| {cell(minion)} | {part['status']} | {cell(part.get('reason') or part.get('why') or '')} |"
            for minion, part in (job.get("minions") or {}).items()
        ]
        head = f"### Salt: `{cell(job.get('fun'))}` on `{cell(job.get('tgt'))}`: {job['status']}"
        self._log.summarize([head, "", f"[{self._jid}]({url}): {counts}", "", "| minion | status | |", "|---|---|---|", *rows[:MOST_ROWS], ""])


def why_of(told: dict[str, Any]) -> str:
    """Return why something is as it is, in brackets."""
    why = told.get("reason") or told.get("cause") or told.get("why")
    return f" ({harmless(why)})" if why else ""


def cell(text: Any) -> str:
    """Return text for a table in Markdown, as text alone."""
    return re.sub(r"([\\`*_{}\[\]()#!|<>~])", lambda found: f"&#{ord(found.group())};", harmless(text))


def exit_code_of(job: dict[str, Any]) -> int:
    """Return the exit code of a job; of one that is not over, nobody can tell."""
    return 6 if job.get("exit_code") is None else int(job["exit_code"])
