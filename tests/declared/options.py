"""Which options of the settings the code reads: attributes of what is a section, by its annotation or by where it comes from."""

from __future__ import annotations

import ast
import functools
import inspect
import typing
from collections import defaultdict
from collections.abc import Iterator

from service.settings.option_types import Group
from service.settings.settings import PerMinionSettings, Settings
from tests.declared.code import nodes

# Here options are declared; to mention one here is not to read it.
DECLARED_IN = (
    "service/settings/settings.py",
    "service/settings/audit_settings.py",
    "service/settings/identity_settings.py",
    "service/settings/limit_settings.py",
    "service/settings/policy_settings.py",
)
# Where a section is handed to a floor that knows no settings, that floor says what it wants of it.
STAND_INS: dict[str, type[Group]] = {"PerMinion": PerMinionSettings}
Read = tuple[type[Group], str]


def sections_within(annotation: object) -> Iterator[type[Group]]:
    """Yield the sections that a field of this type has, in a list or a dictionary too."""
    if inspect.isclass(annotation) and issubclass(annotation, Group):
        yield annotation
    for part in typing.get_args(annotation):
        yield from sections_within(part)


def declared(section: type[Group] = Settings) -> set[Read]:
    """Return every option of a section and of those within it, with the section it belongs to."""
    found: set[Read] = set()
    for name, field in section.model_fields.items():
        inner = list(sections_within(field.annotation))
        found |= {(section, name), *(read for one in inner for read in declared(one))}
    return found


@functools.cache
def section_names() -> dict[str, type[Group]]:
    """Return the sections by the names that annotations have for them."""
    return {**STAND_INS, **{section.__name__: section for section, _ in declared()}}


class File:
    """What the expressions of one file are, as far as they are sections."""

    def __init__(self, found: list[ast.AST]) -> None:
        self._nodes = found
        self._known: defaultdict[str, set[type[Group]]] = defaultdict(set)  # sections by the expression's text
        for node in found:
            if isinstance(node, ast.arg | ast.AnnAssign) and node.annotation is not None:
                names = {part.id for part in ast.walk(node.annotation) if isinstance(part, ast.Name)}
                self._known[node.arg if isinstance(node, ast.arg) else ast.unparse(node.target)] |= {
                    section_names()[name] for name in names & section_names().keys()
                }
        for target, value in self._assigned():
            self._known[ast.unparse(target)] |= self._sections(value)

    def read(self) -> set[Read]:
        """Return the options that the file reads."""
        attributes = [node for node in self._nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)]
        return {(section, node.attr) for node in attributes for section in self._sections(node.value)}

    def _assigned(self) -> Iterator[tuple[ast.expr, ast.expr]]:
        """Yield what gets a value, and the value; of a loop over `sections.items()` the dictionary."""
        for node in self._nodes:
            if isinstance(node, ast.comprehension) and isinstance(node.iter, ast.Call) and isinstance(node.iter.func, ast.Attribute):
                yield from ((target, node.iter.func.value) for target in ast.walk(node.target) if isinstance(target, ast.Name))
            if isinstance(node, ast.Assign):
                target = node.targets[0]
                if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                    yield from zip(target.elts, node.value.elts, strict=False)
                else:
                    yield target, node.value

    def _sections(self, node: ast.expr) -> set[type[Group]]:
        if not isinstance(node, ast.Name | ast.Attribute):
            return set()
        found = set(self._known.get(ast.unparse(node), ()))
        if isinstance(node, ast.Attribute):
            found |= {Settings} if node.attr == "settings" else self._known.get(node.attr, set())
            owners = self._sections(node.value)
            found |= {inner for owner in owners if node.attr in owner.model_fields for inner in sections_within(owner.model_fields[node.attr].annotation)}
        return found


def read() -> set[Read]:
    """Return every option that the code reads."""
    return {read for name, found in nodes().items() if name not in DECLARED_IN for read in File(found).read()}
