"""A shell that takes what the documentation says, as it stands there."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path

from tests.documented.commands import Command
from tests.e2e.shell import StepFailed, run

# A busy machine, and a Salt program that waits for a minion that is gone.
COMMAND_SECONDS = 180.0


@dataclasses.dataclass(frozen=True)
class Shell:
    """
    Runs commands with bash; the first one that fails ends it, also inside of a pipe.

    folder: where they are run; programs: a folder in front of PATH; definitions: shell functions they use.
    reader: what the reader is told to put in, such as the id of a job for JID, by whole words.
    """

    folder: Path
    programs: Path
    environ: Mapping[str, str] = dataclasses.field(default_factory=dict)
    definitions: str = ""
    reader: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def run(self, command: Command) -> str:
        """Return what a command prints. Raises StepFailed with the place of the command."""
        text = self.definitions + command.text
        for word, value in self.reader.items():
            text = re.sub(rf"(?<![\w-]){re.escape(word)}(?![A-Za-z])", value.replace("\\", r"\\"), text)
        path = f"{self.programs}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        try:
            return run("bash", "-euo", "pipefail", "-c", text, timeout=COMMAND_SECONDS, environ={**self.environ, "PATH": path}, cwd=self.folder, text="")
        except StepFailed as exc:
            raise StepFailed(f"{command}: {exc}") from None


def program(folder: Path, name: str, text: str) -> None:
    """Write a program into a folder of programs; text: what follows its first line."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    file.chmod(0o755)
