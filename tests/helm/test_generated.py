"""Schema, README and the copies in files/ are what they are made from, and Grafana knows all of the dashboards among them."""

from __future__ import annotations

import json
import subprocess
import typing
from collections.abc import Iterator
from typing import Any

import pytest
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard, units

from tests.helm.rendering import CHART, ROOT

DASHBOARDS = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in (CHART / "files" / "dashboards").glob("*.json")}
# What Grafana takes, and its schema leaves to the data source or to whoever edits a variable.
LEFT_OUT = {f"annotations.list[].{name}" for name in ("step", "textFormat", "titleFormat", "useValueForTime")} | {"templating.list[].definition"}


def test_generated_files_are_up_to_date() -> None:
    # The schema of `config` comes from the sidecar's own code, so its own environment has to answer.
    done = subprocess.run([ROOT / ".venv" / "bin" / "python", "-m", "helm.generate", "--check"], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.stdout + done.stderr == ""
    assert done.returncode == 0


def test_the_readme_knows_every_value() -> None:
    table = (CHART / "README.md").read_text(encoding="utf-8").partition("<!-- values -->")[2].partition("<!-- /values -->")[0]

    assert table.count("\n| `") > 150


@pytest.mark.parametrize("name", DASHBOARDS)
def test_grafanas_schema_knows_every_field_and_unit_of_a_dashboard(name: str) -> None:
    ours = DASHBOARDS[name]
    known_units = {unit for hint in typing.get_type_hints(units).values() for unit in typing.get_args(hint)}

    assert set(unknown({**ours, "panles": []})) == {*LEFT_OUT, "panles"}
    assert {panel["fieldConfig"]["defaults"]["unit"] for panel in ours["panels"] if panel["type"] != "row"} <= known_units


def unknown(ours: dict[str, Any]) -> Iterator[str]:
    """Yield the fields of a dashboard that Grafana's SDK, which is made from its schema, does not read and write again."""
    plugins.register_default_plugins()
    return _lost(ours, json.loads(json.dumps(dashboard.Dashboard.from_json(ours), cls=JSONEncoder)))


def _lost(ours: Any, theirs: Any, path: str = "") -> Iterator[str]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name, value in ours.items():
            yield from _lost(value, theirs.get(name), f"{path}.{name}".lstrip("."))
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for one, other in zip(ours, theirs, strict=True):
            yield from _lost(one, other, f"{path}[]")
    elif ours != theirs:
        yield path
