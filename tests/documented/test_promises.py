"""What SECURITY.md and docs/jobs-limits.md promise has the test that they name: the file is there, and in it what follows `::`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.documented.commands import ROOT, read

PAGE = "SECURITY.md"
LIMITS = "docs/jobs-limits.md"
NAMED = re.compile(r"`(tests/[\w/]+\.py)(?:::([\w:]+))?`")
ROW = re.compile(r"^\| (.*) \|$", re.MULTILINE)
CVE = re.compile(r"^\| (CVE-\d+-\d+) \|(.*)\|$", re.MULTILINE)


def missing(file: str, name: str) -> bool:
    """Say whether a file, or the class and function in it that a name leads to, is not there."""
    path = ROOT / file
    if not path.is_file():
        return True
    found: list[ast.stmt] = ast.parse(path.read_text(encoding="utf-8")).body
    for step in filter(None, name.split("::")):
        inner = [node for node in found if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == step]
        if not inner:
            return True
        found = inner[0].body
    return False


def rows() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yield each vulnerability of the table and the tests that its row names."""
    for cve, row in CVE.findall(read(PAGE)):
        yield cve, NAMED.findall(row.rpartition("|")[2])


@pytest.mark.parametrize("page", [PAGE, LIMITS])
def test_every_test_that_a_page_names_exists(page: str) -> None:
    named = NAMED.findall(read(page))

    assert len(named) > 20
    assert [(file, name) for file, name in named if missing(file, name)] == []


def test_every_vulnerability_of_the_table_has_a_test_and_stands_there_once() -> None:
    found = list(rows())

    assert len({cve for cve, _ in found}) == len(found) == 13
    assert [cve for cve, tests in found if not tests] == []


def test_every_row_of_what_can_go_wrong_with_a_job_is_shown_by_a_test() -> None:
    cells = [row.split(" | ") for row in ROW.findall(read(LIMITS))]
    shown = {what[0]: bool(NAMED.findall(what[-1])) for what in cells if what[-1] != "shown by"}

    assert len(shown) > 20
    assert [what for what, by_a_test in shown.items() if not by_a_test] == []
