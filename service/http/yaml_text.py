"""YAML as Salt reads it, within bounds; and YAML out of whatever a minion returned."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Hashable
from typing import Any

import yaml

# What aliases may add to a document, in nodes: a handful of lines can stand for a billion of them.
ALIASED_NODES = 10_000
# What `<<` may copy in a document, in keys.
MERGED_KEYS = 10_000
DEPTH = 100
# A longer scalar is text. Python multiplies its way through a number in base 60 or 10, in time that grows with its square.
NUMBER_CHARACTERS = 64
# Numbers, unlike text, can be chosen to collide in a dictionary.
KEYS_NOT_TEXT = 1_000
# libyaml compares each `%TAG` with all before it.
DIRECTIVES = 10
# PyYAML's constructors raise all of these for odd scalars (`!!int ""` is an IndexError), not only YAMLError.
READ_ERRORS = (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, ArithmeticError, RecursionError)

_TEXT, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"
_NUMBERS = frozenset({"tag:yaml.org,2002:int", "tag:yaml.org,2002:float"})
# `<<` and `=` as keys.
_OPERATORS = frozenset({_MERGE, "tag:yaml.org,2002:value"})
# At the beginning of any line that is one for YAML.
_DIRECTIVE = re.compile("(?:^|[\r\n\x85\u2028\u2029])\ufeff?%")

_BaseLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_BaseDumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def load(text: str, admit: Callable[[int], None] = lambda _values: None) -> Any:
    """
    Return the one document in *text* with Salt's types: times stay text, `010` is ten, a key comes once.

    admit(values): hears how many values there are before they are made; what it raises ends the reading.
    The work is linear in the length of *text*, whatever it says. Raises one of READ_ERRORS.
    """
    admit(_check_bounds(text))
    return yaml.load(text, Loader=_Loader)  # noqa: S506 - a subclass of the safe loader


def typed_argument(text: str, admit: Callable[[int], None] = lambda _values: None) -> Any:
    """
    Return an argument as Salt's command line would take it: `1` is a number, `{a: 1}` a dictionary, `a: 1` is text.

    admit: as in `load`. Source: salt/utils/args.py, yamlify_arg; a test compares the two.
    """
    stripped = text.strip()
    if stripped in {"", "---", "..."} or any(character in text for character in "\t\r\n"):
        return text
    if "_" in text and all(character in "0123456789_" for character in stripped):
        return text
    try:
        value = None if text == "None" else load(text, admit)
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


def _check_bounds(text: str) -> int:
    """Walk the document's events and return how many values they stand for; raises YAMLError for what would grow too large or too deep when constructed."""
    if sum(1 for _ in _DIRECTIVE.finditer(text)) > DIRECTIVES:
        raise yaml.YAMLError("found too many directives")
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
    return nodes


class _Loader(_BaseLoader):  # type: ignore[misc]
    """Source of the differences from YAML: salt/utils/yamlloader.py."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._flattened: set[int] = set()
        self._keys_not_text = 0
        self._merged_keys = 0

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        """Take a scalar that is too long for a number as text, unless it is tagged."""
        if kind is yaml.ScalarNode and len(value) > NUMBER_CHARACTERS:
            return _TEXT
        return super().resolve(kind, value, implicit)

    def flatten_mapping(self, node: Any) -> None:
        """Resolve `<<`, once a node, and refuse a key that the mapping itself has twice."""
        if id(node) in self._flattened:
            return
        self._flattened.add(id(node))
        keys = [self.construct_object(key) for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.tag not in _OPERATORS]
        self._keys_not_text += sum(not isinstance(key, str) for key in keys)
        if self._keys_not_text > KEYS_NOT_TEXT:
            raise yaml.YAMLError("found too many keys that are no text")
        if len(set(keys)) != len(keys):
            raise yaml.YAMLError("found a key that comes twice")
        merged: list[Any] = []
        own = []
        for key, value in node.value:
            if key.tag == _MERGE:
                merged += self._mergeable(value)
            else:
                key.tag = _TEXT if key.tag in _OPERATORS else key.tag
                own.append((key, value))
        node.value = merged + own

    def _mergeable(self, node: Any) -> list[Any]:
        """Return the pairs that `<<: node` stands for. A list's first mapping wins, so it comes last."""
        nodes = node.value[::-1] if isinstance(node, yaml.SequenceNode) else [node]
        pairs: list[Any] = []
        for one in nodes:
            if not isinstance(one, yaml.MappingNode):
                raise yaml.YAMLError("found something to merge that is no mapping")
            self.flatten_mapping(one)
            pairs += one.value
            self._merged_keys += len(one.value)
            if self._merged_keys > MERGED_KEYS:
                raise yaml.YAMLError("too much is merged")
        return pairs

    def construct_scalar(self, node: Any) -> Any:
        """Read `010` as ten: nobody means octal numbers in a mode or an id."""
        if node.tag in _NUMBERS and len(node.value) > NUMBER_CHARACTERS:
            raise yaml.YAMLError(f"found a number of more than {NUMBER_CHARACTERS} characters")
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


_Loader.add_constructor(_TEXT, _Loader.construct_scalar)
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
        return bytes(value)  # `!!binary`, as salt-api sends
    if value is None or isinstance(value, bool):
        return value
    for plain in (int, float):
        if isinstance(value, plain):
            return plain(value)
    # Lone surrogates have no UTF-8.
    return str(value).encode("utf-8", "backslashreplace").decode()
