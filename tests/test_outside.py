"""Tests stand outside: they neither take private names of `service` nor write into its modules; limits and clocks are parameters there."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from tests.declared.code import nodes_of, walk

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted(path for folder in ("tests", "benchmarks") for path in (ROOT / folder).rglob("*.py"))
SETTERS = {"setattr", "delattr", "object"}  # the last is unittest.mock's

# What is written into a module all the same, by file, with the reason.
WRITTEN = {
    ("tests/contract/test_routes.py", "service.routes.FAMILIES"): "a family of URLs that the product does not have yet, in the whole application",
}
PLANTED = """
import service.limits
import unittest.mock
from service import limits
from service.limits import Slots, _private
from service.wiring import process as process_module

monkeypatch.setattr(limits, "MOST_KEYS", 3)
monkeypatch.setattr("service.limits.Brake", None)
monkeypatch.setattr(slots, "_free", None)
unittest.mock.patch.object(process_module, "TIMEOUT")
service.limits.MOST_KEYS = 3
del limits.MOST_KEYS

setattr(slots, "free", 3)
monkeypatch.setattr(Slots, "take", None)
slots.free = limits.MOST_KEYS
"""


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def modules_of(nodes: Collection[ast.AST]) -> dict[str, str]:
    """Return the modules of `service` by the expression that means them."""
    found: dict[str, str] = {}
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {name.asname or name.name: name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {name.asname or name.name: f"{node.module}.{name.name}" for name in node.names}
    return {bound: name for bound, name in found.items() if name.startswith("service.") and is_module(name)}


def is_private(name: object) -> bool:
    return isinstance(name, str) and name.startswith("_") and not name.startswith("__")


def name_of(function: ast.expr) -> str | None:
    """Return the last part of what is called."""
    return function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) else None


def written(node: ast.AST) -> tuple[str, object] | None:
    """Return the expression, and the name in it, that a statement or a call changes; a path in a string is an expression without a name."""
    if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load):
        return ast.unparse(node.value), node.attr
    if isinstance(node, ast.Call) and node.args and name_of(node.func) in SETTERS:
        first, name = node.args[0], node.args[1] if len(node.args) > 1 else None
        what = first.value if isinstance(first, ast.Constant) else ast.unparse(first)
        return str(what), name.value if isinstance(name, ast.Constant) else None
    return None


def intrusions(nodes: Collection[ast.AST]) -> Iterator[str]:
    """Yield what a test takes or writes that is not its own. Private names behind a dot are ruff's to find (SLF001)."""
    modules = modules_of(nodes)
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("service"):
            yield from (f"{node.module}.{name.name}" for name in node.names if is_private(name.name))
        what, name = written(node) or ("", None)
        if what in modules:
            yield f"{modules[what]}.{name}"
        elif what.startswith("service."):
            yield what
        elif isinstance(node, ast.Call) and is_private(name):
            yield f"{what}.{name}"


def test_no_test_takes_a_private_name_or_writes_into_a_module() -> None:
    found = {(str(path.relative_to(ROOT)), what) for path in FILES for what in intrusions(nodes_of(path))}

    assert found == WRITTEN.keys()


def test_ruff_looks_for_private_members_in_tests_too() -> None:
    assert "SLF001" not in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize("setter", ["monkeypatch.setattr", "patch.object"])
def test_what_is_planted_is_found(setter: str) -> None:
    nodes = list(walk(ast.parse(PLANTED.replace("monkeypatch.setattr", setter))))

    assert sorted(intrusions(nodes)) == [
        "service.limits.Brake",
        "service.limits.MOST_KEYS",
        "service.limits.MOST_KEYS",
        "service.limits.MOST_KEYS",
        "service.limits._private",
        "service.wiring.process.TIMEOUT",
        "slots._free",
    ]
