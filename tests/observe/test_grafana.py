"""The dashboards have nothing that Grafana would accept in silence and show wrongly; tests/helm/test_generated.py holds them against its schema."""

from __future__ import annotations

import itertools
import json
import re

import pytest

from config.grafana import build
from tests.observe.pictures.units import shown
from tests.observe.promtool import ROOT

DASHBOARDS = {name: json.loads(text) for name, text in build.files().items()}
PANELS = {name: [panel for panel in dashboard["panels"] if panel["type"] != "row"] for name, dashboard in DASHBOARDS.items()}
BUILT_IN = {"__rate_interval", "__range"}
# Grafana's own palette; thresholds and annotations may name other colours too, but these have a light and a dark form.
COLOURS = {"red", "orange", "yellow", "green", "blue", "purple"}


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_have_places_and_numbers_of_their_own(name: str) -> None:
    panels = DASHBOARDS[name]["panels"]
    cells = [(x, y) for panel in panels for x, y in itertools.product(*_sides(panel["gridPos"]))]

    assert len(set(cells)) == len(cells), "panels overlap"
    assert max(x for x, _y in cells) < 24
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)


def _sides(place: dict[str, int]) -> tuple[range, range]:
    return range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_variable_of_a_query_is_there_and_each_choice_narrows_the_next(name: str) -> None:
    dashboard = DASHBOARDS[name]
    variables = [variable["name"] for variable in dashboard["templating"]["list"]]
    queries = [target["expr"] for panel in PANELS[name] for target in panel["targets"]] + [note["expr"] for note in dashboard["annotations"]["list"]]

    assert {used for query in queries for used in re.findall(r"\$\{?(\w+)", query)} - BUILT_IN == set(variables[1:])
    for number, variable in enumerate(dashboard["templating"]["list"][1:], start=1):
        assert re.findall(r"\$(\w+)", variable["query"]["query"]) == variables[1:number]
        assert variable["refresh"] == 2, "not asked again when the time changes"


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_series_has_a_name_that_tells_it_from_the_others(name: str) -> None:
    for panel in PANELS[name]:
        title, targets = panel["title"], panel["targets"]
        legends = [target["legendFormat"] for target in targets]

        assert all(legends), title
        assert len(set(legends)) == len(legends), title
        assert [target["refId"] for target in targets] == [chr(ord("A") + number) for number in range(len(targets))], title
        for target in targets:
            shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            grouped = {label.strip() for labels in re.findall(r"\bby \(([^)]*)\)", target["expr"]) for label in labels.split(",")}
            assert shown <= grouped | {"instance"}, title
            assert grouped - shown <= ({"le"} if "le" in grouped else set()), f"{title}: series that have one name"


@pytest.mark.parametrize("name", DASHBOARDS)
def test_thresholds_rise_from_everywhere_in_colours_that_grafana_has(name: str) -> None:
    for panel in PANELS[name]:
        steps = panel["fieldConfig"]["defaults"].get("thresholds", {"steps": []})["steps"]
        values = [step["value"] for step in steps[1:]]

        assert not steps or steps[0]["value"] is None, panel["title"]
        assert values == sorted(set(values)), panel["title"]
        assert {step["color"] for step in steps} <= COLOURS
    assert {note["iconColor"] for note in DASHBOARDS[name]["annotations"]["list"]} <= COLOURS


def test_dashboards_are_found_by_their_address_and_lead_to_each_other() -> None:
    uids = [dashboard["uid"] for dashboard in DASHBOARDS.values()]

    assert len(set(uids)) == len(uids)
    for dashboard in DASHBOARDS.values():
        assert re.fullmatch(r"[a-zA-Z0-9_-]{1,40}", dashboard["uid"])
        assert dashboard["title"]
        assert dashboard["description"].endswith(".")
        (link,) = dashboard["links"]
        assert set(link["tags"]) == set(dashboard["tags"])
        assert link["includeVars"]
        assert link["keepTime"]


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_has_a_picture_of_all_its_panels_that_the_documentation_shows(name: str) -> None:
    picture = f"img/{name.removesuffix('.json')}.png"
    content = (ROOT / "docs" / picture).read_bytes()
    drawn = content.partition(b"tEXtPanels\0")[2]

    assert json.JSONDecoder().raw_decode(drawn.decode("latin-1"))[0] == [panel["title"] for panel in DASHBOARDS[name]["panels"]], "run `make pictures`"
    assert len(content) <= 300_000
    assert f"]({picture})" in (ROOT / "docs" / "dashboards.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "colour"),
    [("failure", "red"), ("jobs.active failure", "red"), ("503", "red"), ("file bad_credentials", "orange"), ("authn_error", "orange"), ("401", "orange"),
     ("success", "green"), ("local succeeded", "green"), ("200", "green"), ("info", "blue"), ("idle", None), ("127.0.0.1:9175", None)],
)  # fmt: skip
def test_good_and_bad_have_their_colours_whatever_their_place_among_the_others(name: str, colour: str | None) -> None:
    (overrides,) = {json.dumps(panel["fieldConfig"]["overrides"]) for panels in PANELS.values() for panel in panels if panel["type"] == "timeseries"}
    rules = {rule["properties"][0]["value"]["fixedColor"]: rule["matcher"]["options"].strip("/") for rule in json.loads(overrides)}

    assert [found for found, words in rules.items() if re.search(words, name)] == ([colour] if colour else [])


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.00123, "s", "1.23 ms"),
        (90, "s", "1.5 min"),
        (0.5, "percentunit", "50%"),
        (-18.9, "percentunit", "-1890%"),
        (1536, "bytes", "1.5 KiB"),
        (1500, "short", "1.5 K"),
        (float("inf"), "s", "+Inf"),
    ],
)
def test_a_value_in_a_picture_is_written_as_grafana_writes_it(value: float, unit: str, text: str) -> None:
    assert shown(value, unit) == text
