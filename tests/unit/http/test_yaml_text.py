"""YAML: typed as Salt types it, bounded, and whatever comes out can be read again."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import pytest
import salt.utils.args
import salt.utils.yaml
import yaml
from hypothesis import given
from hypothesis import strategies as st

from service.http import yaml_text

ARGUMENTS = [
    "", " ", "---", "...", "1", "010", "0", "00", "0o17", "0x1f", "0b11", "1_000", "1e3", "1.5", "-1", "+1", "None", "null", "~", "true", "Yes", "on",
    "a b", "a: 1", "{a: 1}", "{a: }", "[1, two]", "- 1", "[", "{", "#", "# x", "a#b", "a #b", "a#b: 1", "1 # b", "[1] # b", "|", "!", "!!python/object:os.system {}",
    "!!binary YQ", "!!int ''", "2020-01-01", "2020-01-01 10:00:00", "*", "*x", "&x", "&x 1", "@", "`", "%", "'1'", '"1"', "a\tb", "a\nb", "12:30:45", ".nan",
    "<<", "=", "{<<: {a: 1}}", "{a: 1, a: 2}", "{[1]: 2}", "{=: 1}", "!!set {a}", "ä", "1" * 64, "1" * 65 + "x", "0x" + "f" * 62, "\u2028", "one=1", "G@os:Debian and web*",
]  # fmt: skip


def same(left: object, right: object) -> bool:
    return repr(left) == repr(right) and type(left) is type(right)


@pytest.mark.parametrize("text", ARGUMENTS, ids=repr)
def test_an_argument_gets_the_type_that_salts_command_line_gives_it(text: str) -> None:
    assert same(yaml_text.typed_argument(text), salt.utils.args.yamlify_arg(text))


@given(st.text(alphabet="0123456789abx_.:-+ {}[],#!|&*'\"~\n", max_size=12))
def test_any_argument_gets_the_type_that_salts_command_line_gives_it(text: str) -> None:
    assert same(yaml_text.typed_argument(text), salt.utils.args.yamlify_arg(text))


@pytest.mark.parametrize("text", ["1" * 65, "0x" + "f" * 63, "0b" + "1" * 63, "1" + ":59" * 22, "1." + "5" * 63, "-" + "1" * 64])
def test_a_number_of_more_than_64_characters_is_text(text: str) -> None:
    # Salt's command line makes numbers of these, which no master and no minion can unpack.
    assert yaml_text.typed_argument(text) == text
    assert yaml_text.load(f"a: {text}") == {"a": text}
    with pytest.raises(yaml.YAMLError):
        yaml_text.load(f"a: !!int {text}")


@pytest.mark.parametrize(
    "text",
    ["client: local\ntgt: '*'\nfun: test.ping", "- {a: 010}\n- 2020-01-01", "a: !!binary YWI", "x: &x {a: 1}\ny: {<<: *x, a: 2}", "", "---\n- 1", "a: &b [1]\nc: *b", "<<: [{a: 1}, {b: 2}]\nc: 3", "<<: {a: 1}\n<<: {b: 2}", "%YAML 1.1\n---\n1", "=: 1"],
)  # fmt: skip
def test_a_document_is_read_as_salt_reads_it(text: str) -> None:
    assert yaml_text.load(text) == salt.utils.yaml.safe_load(text)


LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}, *a{n - 1}]\n" for n in range(1, 30))
COLLIDING = "".join(f"{n * (2**61 - 1)}: 1\n" for n in range(1, 24_000))
DIRECTIVES = "".join(f"%TAG !a{n}! a\n" for n in range(50_000)) + "---\n1"
COPIES = "{<<: " * 90 + "{" + ",".join(map(str, range(900))) + "}" + "}" * 90
MERGES = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 30))


@pytest.mark.parametrize(
    "text",
    [LAUGHS, MERGES, "[" * 100_000, "{a: " * 500 + "}" * 500, "- " * 50_000, "&a [*a]", "&a {b: *a}", "*a", "!!python/object/apply:os.system [true]",
     "!!int ''", "!!float ''", "!!bool x", "!!timestamp x: 1", "a: 1\na: 2", "a: 1\n---\nb: 2", "? [1]\n: 2", "\x00", "9" * 100_000, "%YAML 9\n---\n", "!!binary ä",
     "!!omap 1", "!!set [1]", "<<: 1", "<<: [1]", pytest.param(COLLIDING, marks=pytest.mark.slow), DIRECTIVES, COPIES, "1" + ":59" * 150_000, "!!float 1" + ":59" * 150_000, '"\\ud800"', "\ud800"],
    ids=lambda text: f"{len(text)}:{text[:20]!r}",
)  # fmt: skip
def test_a_hostile_document_is_refused_or_read_at_once(text: str) -> None:
    # What it costs, however busy the machine is.
    started = time.thread_time()
    with contextlib.suppress(*yaml_text.READ_ERRORS):
        yaml_text.load(text)

    assert time.thread_time() - started < 5


@pytest.mark.parametrize(
    "text",
    [LAUGHS, MERGES, pytest.param(COLLIDING, marks=pytest.mark.slow), DIRECTIVES, COPIES, "[" * 100_000, "&a [*a]"],
    ids=["laughs", "merges", "colliding", "directives", "copies", "brackets", "loop"],
)
def test_what_would_grow_without_bound_is_refused(text: str) -> None:
    with pytest.raises(yaml.YAMLError):
        yaml_text.load(text)


PLAIN: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)  # fmt: skip


@pytest.mark.costly
@given(PLAIN)
def test_any_value_comes_back_from_its_yaml(value: object) -> None:
    assert yaml.safe_load(yaml_text.dump(value)) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"return": [{"minion-1": True}]}, b"return:\n- minion-1: true\n"),
        ({"b": 1, "a": 2}, b"b: 1\na: 2\n"),
        ((1, "ä"), "- 1\n- ä\n".encode()),
        ("\ud800", b"\\ud800\n"),
    ],
)
def test_what_yaml_cannot_say_becomes_text(value: object, text: bytes) -> None:
    assert yaml_text.dump(value) == text


@pytest.mark.costly
@given(st.recursive(st.binary(), lambda inner: st.lists(inner) | st.dictionaries(st.binary() | st.text(), inner), max_leaves=10))
def test_bytes_are_written_as_salt_api_writes_them(value: object) -> None:
    assert yaml_text.dump(value) == salt.utils.yaml.safe_dump(value, default_flow_style=False, sort_keys=False).encode()
    assert yaml.safe_load(yaml_text.dump(value)) == value


def test_nothing_is_written_as_an_alias() -> None:
    shared = [1, 2]

    assert b"&" not in yaml_text.dump([shared, shared])


def test_something_nested_without_end_is_told() -> None:
    value: object = 1
    for _ in range(5000):
        value = [value]

    with pytest.raises(RecursionError):
        yaml_text.dump(value)
