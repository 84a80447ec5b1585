"""The ratchet: functions of 40 lines at most, files of 400, and a charter at the top of each."""

from __future__ import annotations

import ast
from pathlib import Path

FUNCTION_LINES = 40
FILE_LINES = 400
ROOT = Path(__file__).resolve().parent.parent
FILES = sorted(path for folder in ("service", "tests", "benchmarks", "config") for path in (ROOT / folder).rglob("*.py"))


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count from the first statement after the docstring to the last line."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (function.end_lineno or 0) - body[0].lineno + 1 if body else 0


def long_functions(tree: ast.Module) -> dict[str, int]:
    """Return the lines of each function that has too many."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {function.name: body_lines(function) for function in functions if body_lines(function) > FUNCTION_LINES}


def test_every_file_has_a_charter_and_stays_small() -> None:
    assert FILES
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)

        assert ast.get_docstring(tree), f"{path}: the first statement of a file is its charter"
        assert len(text.splitlines()) <= FILE_LINES, path
        assert long_functions(tree) == {}, path
