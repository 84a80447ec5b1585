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
from tests.documented.commands import read
from tests.documented.prose import every_page, one_sentence_a_line, sentences

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("name", pages())
def test_a_generated_page_is_what_the_code_says(name: str) -> None:
    assert (ROOT / name).read_text(encoding="utf-8") == pages()[name], "run `make docs`"


@pytest.mark.parametrize("page", every_page())
def test_a_page_has_one_sentence_a_line(page: str) -> None:
    assert read(page) == one_sentence_a_line(read(page)), "run `python -m tests.documented.prose`"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("`a. b` stays, e.g. here, a, b, ... and c. nginx starts the next.", ["`a. b` stays, e.g. here, a, b, ... and c.", "nginx starts the next."]),
        ("Whole (in parentheses. Too) it stays.", ["Whole (in parentheses. Too) it stays."]),
        ("**Bold.** Then text.", ["**Bold.**", "Then text."]),
        ("Is it right? simple? tested?", ["Is it right? simple? tested?"]),
    ],
)
def test_sentences_are_told_apart(text: str, found: list[str]) -> None:
    assert sentences(text) == found


def test_blocks_tables_and_lists_keep_their_lines() -> None:
    page = "# A. B\n\nOne.\nTwo goes\non. Three.\n\n- item. More.\n  And\n  more.\n\n| a. b | c |\n\n  ```sh\n  x. y\n  ```\n"

    assert one_sentence_a_line(page) == "# A. B\n\nOne.\nTwo goes on.\nThree.\n\n- item.\n  More.\n  And more.\n\n| a. b | c |\n\n  ```sh\n  x. y\n  ```\n"


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
