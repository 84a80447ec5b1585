"""One sentence a line, so that a change shows as the sentence it changes: `python -m tests.documented.prose` writes the pages so; a page looks the same."""

from __future__ import annotations

import re
from collections.abc import Iterator

from service.cli.docs import pages as generated
from tests.documented.commands import ROOT, pages, read

FENCE = re.compile(r"^ *(```|~~~)")
ITEM = re.compile(r"^(?P<indent> *)(?P<marker>[-*]|\d+\.) +(?P<text>.*)$")
NO_PROSE = re.compile(r"^ *(\||#|<!--|---|>|\[\w+\]:)|^$")
CODE = re.compile(r"`[^`]*`")
# A full stop ends a sentence unless it ends an abbreviation or stands for what is left out.
END = re.compile(r"((?<!\be\.g)(?<!\bi\.e)(?<!\.\.)\.[)*\"]*(?= )|[!?][)*\"]*(?= [^a-z]))")


def every_page() -> list[str]:
    """Return the pages that are written by hand, decisions too; the changelog is a list."""
    records = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs" / "decisions").glob("*.md"))
    return [page for page in (*pages(), *records) if page not in {*generated(), "docs/performance.md", "docs/tuning.md"}]


def sentences(text: str) -> list[str]:
    """Split a paragraph into its sentences; code in backticks and what stands in parentheses stay whole."""
    hidden = CODE.sub(lambda code: "x" * len(code[0]), text)
    cuts = [end.end() for end in END.finditer(hidden) if hidden.count("(", 0, end.end()) == hidden.count(")", 0, end.end())]
    return [text[start:stop].strip() for start, stop in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def one_sentence_a_line(page: str) -> str:
    """Return a page's text with each sentence of its prose on a line of its own."""
    return "".join(f"{line}\n" for line in _lines(iter(page.splitlines())))


def _lines(lines: Iterator[str]) -> Iterator[str]:
    first, indent, paragraph = "", "", ""
    for line in lines:
        fence = FENCE.match(line)
        item = ITEM.match(line)
        if fence or item or NO_PROSE.match(line):
            yield from _wrapped(first, indent, paragraph)
            paragraph = ""
        if fence:
            yield line
            yield from _until_closed(lines, fence[1])
        elif item:
            first, indent, paragraph = f"{item['indent']}{item['marker']} ", " " * len(f"{item['indent']}{item['marker']} "), item["text"]
        elif NO_PROSE.match(line):
            yield line
        elif paragraph:
            paragraph += f" {line.strip()}"
        else:
            indent = first = " " * (len(line) - len(line.lstrip()))
            paragraph = line.strip()
    yield from _wrapped(first, indent, paragraph)


def _until_closed(lines: Iterator[str], fence: str) -> Iterator[str]:
    for line in lines:
        yield line
        if line.strip() == fence:
            return


def _wrapped(first: str, indent: str, paragraph: str) -> Iterator[str]:
    if paragraph:
        for number, sentence in enumerate(sentences(paragraph)):
            yield f"{indent if number else first}{sentence}"


if __name__ == "__main__":
    for name in every_page():
        (ROOT / name).write_text(one_sentence_a_line(read(name)), encoding="utf-8")
