"""YAML as Salt reads it, within bounds; and YAML out of whatever a minion returned."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Hashable
from typing import Any

import yaml

# What aliases may add to a document, in nodes: a handful of lines can stand for a billion of them.
ALIASED_NODES = 10_000
DEPTH = 100
# PyYAML's constructors raise all of these for odd scalars (`!!int ""` is an IndexError), not only YAMLError.
READ_ERRORS = (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, ArithmeticError, RecursionError)

# `<<` and `=` as keys.
_OPERATORS = frozenset({"tag:yaml.org,2002:merge", "tag:yaml.org,2002:value"})

_BaseLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_BaseDumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def load(text: str) -> Any:
    """
    Return the one document in *text* with Salt's types: times stay text, `010` is ten, a key comes once.

    Raises one of READ_ERRORS.
    """
    _check_bounds(text)
    return yaml.load(text, Loader=_Loader)  # noqa: S506 - a subclass of the safe loader


def typed_argument(text: str) -> Any:
    """
    Return an argument as Salt's command line would take it: `1` is a number, `{a: 1}` a dictionary, `a: 1` is text.

    Source: salt/utils/args.py, yamlify_arg; a test compares the two.
    """
    stripped = text.strip()
    if stripped in {"", "---", "..."} or any(character in text for character in "\t\r\n"):
        return text
    if "_" in text and all(character in "0123456789_" for character in stripped):
        return text
    try:
        value = None if text == "None" else load(text)
    except READ_ERRORS:
        return text
    return value if _is_meant(text, value) else text


def dump(value: object) -> bytes:
    """
    Return *value* as YAML in UTF-8, without anchors, which some safe loaders refuse.

    Raises RecursionError for a value that is nested some hundred levels deep.
    """
    # The emitter gives text; encoding here keeps one rule for what is not UTF-8.
    return str(yaml.dump(_tree(value), Dumper=_Dumper, default_flow_style=False, allow_unicode=True, sort_keys=False)).encode()


def _is_meant(text: str, value: object) -> bool:
    """Say whether *text* was written as a value, and is no text that YAML happens to take for one."""
    if "#" in text:
        return value is not None and not isinstance(value, str)  # else the rest would be lost as a comment
    if isinstance(value, dict):
        return text.startswith("{")
    if isinstance(value, list):
        return text.startswith("[")
    if value == "" and text in {"|", "!"}:
        return False
    if value is None and text == "!":
        return False
    return value is None or isinstance(value, float | int | str)


def _check_bounds(text: str) -> None:
    """Walk the document's events; raises YAMLError for what would grow too large or too deep when constructed."""
    sizes: dict[str, int] = {}  # nodes below a finished anchor
    stack: list[tuple[str | None, int]] = []  # open collections: anchor, nodes counted before it
    nodes = aliased = 0
    for event in yaml.parse(text, Loader=_BaseLoader):
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise yaml.YAMLError(f"found undefined or recursive alias {str(event.anchor)[:50]!r}")
            aliased += sizes[event.anchor]
            nodes += sizes[event.anchor]
        elif isinstance(event, yaml.CollectionStartEvent):
            stack.append((event.anchor, nodes))
            nodes += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = stack.pop()
            sizes.update({anchor: nodes - before} if anchor else {})
        elif isinstance(event, yaml.ScalarEvent):
            nodes += 1
            sizes.update({event.anchor: 1} if event.anchor else {})
        if len(stack) > DEPTH or aliased > ALIASED_NODES:
            raise yaml.YAMLError("nested too deeply" if len(stack) > DEPTH else "too much comes from aliases")


class _Loader(_BaseLoader):  # type: ignore[misc]
    """Source of the differences from YAML: salt/utils/yamlloader.py."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._flattened: set[int] = set()

    def flatten_mapping(self, node: Any) -> None:
        """Resolve `<<`, once a node, and refuse a key that the mapping itself has twice."""
        if id(node) in self._flattened:
            return
        self._flattened.add(id(node))
        keys = [self.construct_object(key) for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.tag not in _OPERATORS]
        if len(set(keys)) != len(keys):
            raise yaml.YAMLError("found a key that comes twice")
        super().flatten_mapping(node)

    def construct_scalar(self, node: Any) -> Any:
        """Read `010` as ten: nobody means octal numbers in a mode or an id."""
        if node.tag == "tag:yaml.org,2002:int" and node.value.startswith("0") and not node.value.startswith(("0b", "0x")):
            node.value = node.value.lstrip("0") or "0"
        return super().construct_scalar(node)

    def construct_salt_binary(self, node: Any) -> bytes:
        """Take base64 without its padding too."""
        value = self.construct_scalar(node).encode("ascii")
        try:
            return base64.decodebytes(value + b"=" * (-len(value) % 4))
        except binascii.Error as exc:
            raise yaml.YAMLError("found binary data that is not base64") from exc


_Loader.add_constructor("tag:yaml.org,2002:str", _Loader.construct_scalar)
_Loader.add_constructor("tag:yaml.org,2002:timestamp", _Loader.construct_scalar)
_Loader.add_constructor("tag:yaml.org,2002:binary", _Loader.construct_salt_binary)


class _Dumper(_BaseDumper):  # type: ignore[misc]
    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True


def _tree(value: object) -> Any:
    """Give *value* only the types that the safe dumper knows."""
    if isinstance(value, dict):
        return {_tree(key) if isinstance(key, Hashable) and not isinstance(key, tuple) else str(key): _tree(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_tree(one) for one in value]
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode("utf-8", "backslashreplace")
    if value is None or isinstance(value, bool):
        return value
    for plain in (int, float):
        if isinstance(value, plain):
            return plain(value)
    # Lone surrogates have no UTF-8.
    return str(value).encode("utf-8", "backslashreplace").decode()
