"""What SECURITY.md promises has the test that it names: the file is there, and in it what follows `::`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.documented.commands import ROOT, read

PAGE = "SECURITY.md"
NAMED = re.compile(r"`(tests/[\w/]+\.py)(?:::([\w:]+))?`")
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


def test_every_test_that_the_page_names_exists() -> None:
    named = NAMED.findall(read(PAGE))

    assert len(named) > 20
    assert [(file, name) for file, name in named if missing(file, name)] == []


def test_every_vulnerability_of_the_table_has_a_test_and_stands_there_once() -> None:
    found = list(rows())

    assert len({cve for cve, _ in found}) == len(found) == 13
    assert [cve for cve, tests in found if not tests] == []
