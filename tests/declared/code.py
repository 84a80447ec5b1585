"""The syntax trees of our files, each parsed once, and what can be asked of those of service/."""

from __future__ import annotations

import ast
import functools
import gc
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


@functools.cache
def trees(folder: str) -> dict[Path, tuple[ast.Module, list[ast.AST]]]:
    """Return the tree and every node of every file in a folder of the repository. They stay, and the collector, which cleans up first, passes them over."""
    gc.collect()
    gc.disable()
    found = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted((ROOT / folder).rglob("*.py"))}
    parsed = {path: (tree, list(walk(tree))) for path, tree in found.items()}
    gc.freeze()
    gc.enable()
    return parsed


def tree_of(path: Path) -> ast.Module:
    """Return a file's tree."""
    return trees(path.relative_to(ROOT).parts[0])[path][0]


def walk(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield every node but loads, stores and operators, in no order. ast.walk takes three times as long, and there are a million."""
    left = [tree]
    while left:
        node = left.pop()
        yield node
        for value in node.__dict__.values():
            if value.__class__ is list:
                left += [one for one in value if isinstance(one, ast.AST)]
            elif isinstance(value, ast.AST) and value._fields:
                left.append(value)


def nodes_of(path: Path) -> list[ast.AST]:
    """Return every node of a file."""
    return trees(path.relative_to(ROOT).parts[0])[path][1]


@functools.cache
def nodes() -> dict[str, list[ast.AST]]:
    """Return every node of every file of service/, by the file's path from the root."""
    return {str(path.relative_to(ROOT)): found for path, (_, found) in trees("service").items()}


def outside(*files: str) -> Iterator[ast.AST]:
    """Yield the nodes of all files but these."""
    for name, found in nodes().items():
        if name not in files:
            yield from found


def text_of(node: ast.AST | None) -> str | None:
    """Return the text of a constant, None where it is none."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def texts(*but: str) -> set[str]:
    """Return every text in the code outside of these files; a docstring or a sentence is none that equals a name."""
    return {text for node in outside(*but) if (text := text_of(node)) is not None}


def attributes_read() -> set[str]:
    """Return the name of every attribute that is read."""
    return {node.attr for node in outside() if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)}
