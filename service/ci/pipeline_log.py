"""The log of a pipeline, as each platform shows it; what minions say is text there and nothing else."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import IO, Any


def harmless(text: Any) -> str:
    """Return one line that no runner of pipelines takes for a command, and no terminal for a movement: minions choose what they say."""
    line = re.sub("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]", "\ufffd", str(text))
    return re.sub(r"^(\s*):|#(?=#\w*\[)", lambda found: f"{found.group()}\u200b" if "#" in found.group() else f"{found.group(1)}\u200b:", line)


class Log:
    """A pipeline's log, as people read it anywhere. folds: lines that belong together can be shown as one."""

    folds = False

    def __init__(self, out: IO[str], environ: dict[str, str]) -> None:
        self._out = out
        self.environ = environ
        self._groups = 0

    def line(self, text: str = "") -> None:
        """Write a line of ours; what is not ours in it is harmless."""
        self._out.write(text + "\n")
        self._out.flush()

    def group(self, title: str, lines: list[str]) -> None:
        """Write lines that belong together."""
        self.begin(title)
        for line in lines:
            self.line(line)
        self.end()

    def begin(self, title: str, *, live: bool = False) -> None:
        """Begin a group; no other is open. live: its lines are still to come, and are to be seen."""
        del live
        self.line(title)

    def end(self) -> None:
        """End the group."""

    def mask(self, secret: str) -> None:
        """Have the platform hide a secret."""

    def annotate(self, title: str, text: str) -> None:
        """Say what went wrong where the platform shows such things first."""

    def summarize(self, lines: list[str]) -> None:
        """Show a table, in Markdown, where the platform has a page for it."""


class GitHub(Log):
    """The log of GitHub Actions. Source: docs.github.com, "Workflow commands for GitHub Actions"."""

    folds = True

    def begin(self, title: str, *, live: bool = False) -> None:
        del live
        self.line(f"::group::{title}")

    def end(self) -> None:
        self.line("::endgroup::")

    def mask(self, secret: str) -> None:
        self.line(f"::add-mask::{secret}")

    def annotate(self, title: str, text: str) -> None:
        escaped = title.replace("%", "%25").replace(":", "%3A").replace(",", "%2C")
        self.line(f"::error title={escaped}::{text.replace('%', '%25')}")

    def summarize(self, lines: list[str]) -> None:
        if self.environ.get("GITHUB_STEP_SUMMARY"):
            with Path(self.environ["GITHUB_STEP_SUMMARY"]).open("a", encoding="utf-8") as page:
                page.write("\n".join(lines) + "\n")


class GitLab(Log):
    """The log of GitLab CI. Source: docs.gitlab.com, "Collapse and expand job log sections"."""

    folds = True

    def begin(self, title: str, *, live: bool = False) -> None:
        self._groups += 1
        self.line(f"{self._mark('start')}{'' if live else '[collapsed=true]'}\r\x1b[0K{title}")

    def end(self) -> None:
        self.line(f"{self._mark('end')}\r\x1b[0K")

    def _mark(self, what: str) -> str:
        return f"\x1b[0Ksection_{what}:{int(time.time())}:salt_{self._groups}"


def log_of(environ: dict[str, str], out: IO[str]) -> Log:
    """Return the log of the platform that we run on."""
    if environ.get("GITHUB_ACTIONS") == "true":
        return GitHub(out, environ)
    return (GitLab if environ.get("GITLAB_CI") == "true" else Log)(out, environ)
