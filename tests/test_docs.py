"""The generated documentation is up to date, and the index of the decisions whole."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from helm.generate import CHART, copies, outdated, settings_schema
from service.cli.docs import pages
from service.clients import CLIENTS
from service.events.tags import KINDS
from service.observe.metrics import domains

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("name", pages())
def test_a_generated_page_is_what_the_code_says(name: str) -> None:
    assert (ROOT / name).read_text(encoding="utf-8") == pages()[name], "run `make docs`"


def test_the_chart_knows_the_settings_the_rules_and_the_dashboards() -> None:
    settings, parts = settings_schema()
    chart = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))["$defs"]

    assert (chart["settings"], {name: chart[name] for name in parts}) == (settings, parts), "run `make docs`"
    assert not outdated(copies()), "run `make docs`"


def test_the_index_has_every_decision_under_its_number() -> None:
    folder = ROOT / "docs" / "decisions"
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", (folder / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    records = {path.name: path.read_text(encoding="utf-8").partition("\n")[0] for path in folder.glob("[0-9]*.md")}

    assert [int(number) for number, _ in rows] == list(range(1, len(rows) + 1))
    assert [line for line in rows if line[1] != "never used"] == [
        (str(int(name[:4])), f"[{title.partition('. ')[2]}]({name})") for name, title in sorted(records.items())
    ]
    assert all(title.startswith(f"# {int(name[:4])}. ") for name, title in records.items())


def test_the_gateways_names_are_the_metrics_label_values() -> None:
    assert {*CLIENTS, "invalid"} == set(domains.CLIENTS)
    assert set(KINDS) <= set(domains.EVENT_TYPES)
