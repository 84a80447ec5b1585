"""The ratchet: functions of 40 lines at most, files of 40 to 400, a charter at the top of each, and a name for one thing only."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

from tests.declared.code import nodes_of, tree_of

FUNCTION_LINES = 40
FILE_LINES = 400
FOLD_LINES = 40
ROOT = Path(__file__).resolve().parent.parent
FILES = sorted(path for folder in ("service", "tests", "benchmarks", "config", "requirements") for path in (ROOT / folder).rglob("*.py"))

# Files of `service` that stay apart although they are short; what is no room's charter and no URL's resource needs its reason here.
APART = {
    "deadline.py": "rooms on several floors wait with it, and it knows nothing of any of them",
    "bounded.py": "rooms on every floor remember with it, and errors.py, the only file below them all, is about something else",
    "secrets/digests.py": "its neighbour reads files of secrets; this one never has a secret that was written down",
    "secrets/reading.py": "a health check needs it every few seconds, and must not import what its neighbour does",
}

Function = ast.FunctionDef, ast.AsyncFunctionDef


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count from the first statement after the docstring to the last line."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (function.end_lineno or 0) - body[0].lineno + 1 if body else 0


def long_functions(nodes: list[ast.AST]) -> dict[str, int]:
    """Return the lines of each function that has too many."""
    functions = [node for node in nodes if isinstance(node, Function)]
    return {function.name: body_lines(function) for function in functions if body_lines(function) > FUNCTION_LINES}


def test_every_file_has_a_charter_and_stays_small() -> None:
    assert FILES
    for path in FILES:
        text = path.read_text(encoding="utf-8")

        assert ast.get_docstring(tree_of(path)), f"{path}: the first statement of a file is its charter"
        assert len(text.splitlines()) <= FILE_LINES, path
        assert long_functions(nodes_of(path)) == {}, path


def test_a_file_too_short_to_stand_apart_is_folded_into_its_neighbour() -> None:
    service = ROOT / "service"
    short = {str(path.relative_to(service)) for path in service.rglob("*.py") if len(path.read_text(encoding="utf-8").splitlines()) < FOLD_LINES}
    served = re.findall(r"^from service\.api\.([\w.]+) import", (service / "routes.py").read_text(encoding="utf-8"), re.MULTILINE)
    resources = {f"api/{name.replace('.', '/')}.py" for name in served}
    charters = {name for name in short if name.endswith(("__init__.py", "__main__.py"))}

    assert short - resources - charters == APART.keys()


def test_a_name_means_one_module_and_one_class() -> None:
    ours = [path for path in (ROOT / "service").rglob("*.py") if not path.is_relative_to(ROOT / "service" / "demo" / "files")]
    modules = Counter(path.stem for path in ours if not path.stem.startswith("__"))
    classes = Counter(node.name for path in ours for node in tree_of(path).body if isinstance(node, ast.ClassDef))

    assert [name for name, count in (modules + classes).items() if count > 1] == []
