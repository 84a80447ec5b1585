"""What is built gets all it needs when it is built: the wiring sets nothing on it later, and hands over nothing half built."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.declared.code import nodes

# A request's account is filled on its way.
FILLED = {("service/wiring/requests.py", "info.crashed")}


def wiring() -> Iterator[tuple[str, ast.AST]]:
    """Yield every node of the wiring, and its file."""
    yield from ((name, node) for name, found in nodes().items() if name.startswith("service/wiring/") for node in found)


def targets(node: ast.AST) -> list[ast.expr]:
    """Return what a statement assigns to, one by one."""
    assigned = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign | ast.AugAssign) else []
    return [one for target in assigned for one in (target.elts if isinstance(target, ast.Tuple) else [target])]


def test_nothing_is_set_on_an_object_after_it_was_built() -> None:
    late = {(name, ast.unparse(target)) for name, node in wiring() for target in targets(node) if isinstance(target, ast.Attribute)}

    assert {(name, text) for name, text in late if not (text.startswith("self.") and text.count(".") == 1)} == FILLED


def selves(node: ast.AST) -> list[ast.Name]:
    """Return every `self` in a node."""
    return [part for part in ast.walk(node) if isinstance(part, ast.Name) and part.id == "self"]


def test_no_constructor_hands_over_what_is_half_built() -> None:
    """Neither itself, nor a method of its own, nor a function that looks into it later."""
    handed = set()
    for name, built in wiring():
        methods = {member.name: member for member in built.body if isinstance(member, ast.FunctionDef)} if isinstance(built, ast.ClassDef) else {}
        for node in ast.walk(methods["__init__"]) if "__init__" in methods else ():
            if isinstance(node, ast.Attribute) and node.attr in methods and selves(node.value):
                handed.add(f"{name}: {ast.unparse(node)}")
            elif isinstance(node, ast.Call | ast.Lambda):
                given = [node] if isinstance(node, ast.Lambda) else [*node.args, *(keyword.value for keyword in node.keywords)]
                handed |= {f"{name}: {ast.unparse(node)}" for part in given if isinstance(part, ast.Lambda | ast.Name) and selves(part)}

    assert handed == set()
