"""Values that nobody thought of: made from the schema, they are refused with the name of one, or render to what Kubernetes takes."""

from __future__ import annotations

import copy
import functools
import json
import re
from collections.abc import Iterator
from typing import Any

import helm_python
import hypothesis_jsonschema
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from tests.helm.accepting import VERSIONS, check
from tests.helm.rendering import CHART, VALUES, Rendered, load, render

Path = tuple[str, ...]
# About half a minute, and the same values each time; after a change of many templates look at thousands, and at random.
EXAMPLES = 150
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
# As Helm's own check and templates/validate.yaml name a value.
NAMED = re.compile(r"at '/?([^']*)'(?:: missing propert(?:y|ies) '([^']+)')?|^\s+- ([\w.]+):", re.MULTILINE)


def leaves(schema: dict[str, Any], path: Path = ()) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Return every value that can be set, with its schema, and the sections, which have none to draw from but null."""
    for name, item in schema.get("properties", {}).items():
        if "properties" in item:
            yield (*path, name), {"type": "null"}
        yield from leaves(item, (*path, name)) if "properties" in item else [((*path, name), item)]


LEAVES = dict(leaves(SCHEMA))
# What Kubernetes defines and the chart passes on is its author's; here it is the least that Kubernetes takes, or nothing.
DEFINED: dict[str, Any] = SCHEMA["$defs"] | {
    "anything": {"type": "object", "maxProperties": 0},
    "anyObject": {"const": {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "more"}}},
    "container": {**SCHEMA["$defs"]["container"], "additionalProperties": False},
    "volume": {**SCHEMA["$defs"]["volume"], "additionalProperties": False},
}


@functools.cache
def values_of(path: Path) -> st.SearchStrategy[Any]:
    """Return what the schema allows for one value, and null."""
    allowed: st.SearchStrategy[Any] = hypothesis_jsonschema.from_schema({**LEAVES[path], "$defs": DEFINED}, codec="ascii", allow_x00=False)
    return allowed | st.none()


def settings_of(path: Path) -> st.SearchStrategy[tuple[Path, Any]]:
    return st.tuples(st.just(path), values_of(path))


ODD = st.lists(st.sampled_from(sorted(LEAVES)).flatmap(settings_of), min_size=1, max_size=5, unique_by=lambda item: item[0])


def with_values(base: dict[str, Any], drawn: list[tuple[Path, Any]]) -> dict[str, Any]:
    """Return the values of a file in ci/ with those drawn in their places; a section that is null stays so."""
    values = copy.deepcopy(base)
    for path, value in sorted(drawn, key=lambda item: len(item[0]), reverse=True):
        place = values
        for name in path[:-1]:
            place = place.setdefault(name, {})
        place[path[-1]] = value
    return values


def names_a_value(reason: str) -> bool:
    """Tell whether a refusal names a value that there is."""
    found = ["/".join(part for part in match.groups() if part).replace(".", "/").strip("/") for match in NAMED.finditer(reason)]
    return bool(found) and all(any(name.startswith("/".join(path)) for path in LEAVES) for name in found)


def outcome(values: dict[str, Any]) -> tuple[str, Rendered | None]:
    """Return why Helm does not take the values, or what it makes of them."""
    try:
        return "", render(values)
    except helm_python.HelmError as exc:
        return str(exc), None


@settings(max_examples=EXAMPLES, deadline=None, database=None, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(st.sampled_from(VALUES), ODD)
def test_odd_values_are_refused_by_name_or_render_to_what_kubernetes_takes(base: Any, drawn: list[tuple[Path, Any]]) -> None:
    # What has braces is a template of its author's, and Helm says what is wrong with it.
    assume("{{" not in json.dumps(drawn))
    refused, rendered = outcome(with_values(load(base), drawn))
    assert rendered or names_a_value(refused), refused
    if rendered:
        # The schema knows fields that are newer than the oldest version.
        check(rendered, VERSIONS[-1:])
