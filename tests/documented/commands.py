"""Finds every command that the documentation tells people to type, and what is declared about it: which test runs it, or why none does."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

from tests.documented.inline import EVERYWHERE, INLINE

ROOT = Path(__file__).resolve().parents[2]
FILES = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "config/README.md", "helm/salt-sidecar/README.md")
RUNBOOK = "docs/runbooks/Salt"
# An inline code span of two words or more is a command if it starts with one of these; the last four are defined in docs/runbooks/README.md.
PROGRAMS = frozenset(
    """amtool apt-get bash curl docker git grep helm journalctl jq kill kubectl ls make openssl pip podman promtool py-spy python python3 salt salt-call
    salt-key salt-run salt-sidecar sed sh ss sudo systemctl tar master master_log sidecar sidecar_log""".split()
)
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\S*) *$")
MARKER = re.compile(r"^ *<!-- (?P<text>(?:run|run by|not run|defines): .*?) *-->$")
SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")
ASSIGNMENT = re.compile(r"^[A-Z_]+=\S*$")


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text without the page's indentation, and the marker in the line before it."""

    page: str
    line: int
    language: str
    text: str
    marker: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@dataclasses.dataclass(frozen=True)
class Command:
    """
    Something to type.

    marker: `run: WHERE`, `run by: FILE: WORDS IN IT`, `not run: REASON` or `defines: INSTALLATION`; empty if nothing is declared.
    """

    page: str
    line: int
    text: str
    marker: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[str]:
    """Return the pages that tell people what to do; a decision record tells why something is as it is."""
    found = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))
    return [*FILES, *(page for page in found if not page.startswith("docs/decisions/"))]


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, text: str) -> Iterator[Block]:
    """Yield the fenced blocks of a page's text."""
    lines = enumerate(text.splitlines(), 1)
    before = ""
    for number, line in lines:
        if fence := FENCE.match(line):
            body = []
            for _, inside in lines:
                if inside.strip() == "```":
                    break
                body.append(inside.removeprefix(fence["indent"]) + "\n")
            marker = MARKER.match(before)
            yield Block(page, number, fence["language"], "".join(body), marker["text"] if marker else "")
        before = line


def typed(block: Block) -> str:
    """Return what is typed: all of a `sh` block; of a `console` block what stands behind `$ `, with its continuation lines, and not the answers."""
    if block.language == "sh":
        return block.text
    return "".join(re.findall(r"^\$ ((?:.*\\\n)*.*\n)", block.text, re.MULTILINE))


def spans(text: str) -> Iterator[tuple[int, str]]:
    """Yield the inline commands of a page's text with their lines."""
    prose = re.sub(r"^( *)```.*?^ *```$", lambda block: "\n" * block[0].count("\n"), text, flags=re.MULTILINE | re.DOTALL)
    for span in SPAN.finditer(prose):
        words = span[1].split()
        first = next((word for word in words if not ASSIGNMENT.match(word)), "")
        if first in PROGRAMS and words[-1] != first:
            yield prose.count("\n", 0, span.start()) + 1, " ".join(words)


def commands(page: str, text: str | None = None, declared: dict[str, str] | None = None) -> list[Command]:
    """Return the commands of a page in the order of its text. An inline one that is repeated is one command."""
    text = read(page) if text is None else text
    declared = {**INLINE[EVERYWHERE], **INLINE.get(page, {})} if declared is None else declared
    usual = "run: runbook" if page.startswith(RUNBOOK) else ""
    found = [Command(page, block.line, typed(block), block.marker or usual) for block in blocks(page, text) if block.language in {"sh", "console"}]
    found += {span: Command(page, line, span, declared.get(span, usual)) for line, span in spans(text)}.values()
    return sorted(found, key=lambda command: command.line)


def every() -> list[Command]:
    return [command for page in pages() for command in commands(page)]


def definitions(installation: str) -> str:
    """Return the shell functions that a page defines for an installation."""
    (found,) = (command.text for command in every() if command.marker == f"defines: {installation}")
    return found


def run_by(where: str) -> list[Command]:
    """Return the commands that are marked `run: WHERE`, each text once."""
    chosen = [command for command in every() if command.marker == f"run: {where}"]
    return [*{command.text: command for command in chosen}.values()]
