"""Our own sentences to callers are written so that the redaction of the log leaves them alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from service import errors
from service.observe.redact import redact_text
from tests.declared.code import nodes, text_of

KINDS = {kind.__name__ for kind in errors.FAULTS}


def sentences() -> Iterator[tuple[str, str]]:
    """Yield what faults are made with, by its file and line; a value inside counts as `x`."""
    for file, found in nodes().items():
        for node in found:
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in KINDS and node.args:
                yield f"{file}:{node.lineno}", said(node.args[0])


def said(node: ast.expr) -> str:
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    return "".join("x" if (text := text_of(part)) is None else text for part in parts)


def test_the_redaction_eats_none_of_our_sentences() -> None:
    found = dict(sentences())

    assert len(found) > 100
    assert {where: text for where, text in found.items() if redact_text(text) != text} == {}
