"""Rules, runbooks and dashboards name only what exists, and say of themselves what they must."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from config.grafana import build
from service.observe.log.event_names import EVENTS
from service.settings import settings
from tests.observe.promql import faults, known_labels, promql_lines, rules_of, variables_filled
from tests.observe.promtool import ROOT, RULES

RUNBOOKS = ROOT / "docs" / "runbooks"
FILES = sorted(RULES.glob("*.yaml"))
KNOWN = known_labels(FILES)
ALERTS = [rule for rule in rules_of(RULES / "alerts.yaml") if "alert" in rule]
# `area.thing` in a runbook is a log event or a setting.
DOTTED = re.compile(r'[`"]([a-z]+\.[a-z_.]+)[`"]')
AREAS = {name.split(".")[0] for name in (*settings.options(), *(event.name for event in EVENTS))}
# What `salt.lows` of a line has for each low, as far as runbooks ask for it.
LOW_FIELDS = {"jid", "fun", "minions_failed"}
# Fields of a log line, written like an event.
FIELDS = {field.split(":")[0] for event in EVENTS for field in event.fields}


def panels() -> Iterator[dict[str, Any]]:
    for text in build.files().values():
        yield from (panel for panel in json.loads(text)["panels"] if panel["type"] != "row")


def test_the_checker_finds_what_does_not_exist() -> None:
    assert faults('sum by (eauth) (rate(salt_api_auth_attempts_total{result="success"}[5m])) / 2 > bool 1e3', KNOWN) == []
    assert faults("sum(salt_function_health)", KNOWN) == ["no metric salt_function_health"]
    assert faults("salt_master_up and salt_api_gone_total[5m]", KNOWN) == ["no metric salt_api_gone_total"]
    assert faults('salt_master_up{minion="x"}', KNOWN) == ["salt_master_up has no label minion"]
    assert faults("sum by (minion) (salt_master_up)", KNOWN) == ["no label minion in ['salt_master_up']"]
    assert faults('salt_api_ready{check=~"bus|gone"}', KNOWN) == ["salt_api_ready: check is never gone"]


def test_rules_name_only_what_exists() -> None:
    rules = [rule for path in FILES for rule in rules_of(path)]

    assert {rule.get("record", rule.get("alert")): wrong for rule in rules if (wrong := faults(rule["expr"], KNOWN))} == {}


def test_every_alert_says_how_bad_it_is_and_has_a_page_that_the_index_lists() -> None:
    index = (RUNBOOKS / "README.md").read_text(encoding="utf-8")
    for alert in ALERTS:
        name, labels, annotations = alert["alert"], alert["labels"], alert["annotations"]

        assert set(annotations) == {"summary", "description", "runbook_url"}, name
        assert annotations["runbook_url"] == f"{{{{ $externalURL }}}}/user/runbooks/{name}.md"
        assert f"| [{name}]({name}.md) | {labels['severity']} |" in index
    assert len(ALERTS) == 16
    assert {path.stem for path in RUNBOOKS.glob("Salt*.md")} == {alert["alert"] for alert in ALERTS}


def test_a_runbook_has_its_parts_and_names_only_what_exists() -> None:
    dotted = {*settings.options(), *(event.name for event in EVENTS), *FIELDS}
    for path in RUNBOOKS.glob("Salt*.md"):
        text = path.read_text(encoding="utf-8")
        queries = promql_lines(text)
        words = set(re.findall(r"\bsalt_[a-z0-9_]+\b", text))

        assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["Meaning", "Impact", "First look", "Causes and fixes"], path.name
        assert queries, path.name
        assert {query: wrong for query in queries if (wrong := faults(query, KNOWN))} == {}, path.name
        assert words <= set(KNOWN), path.name
        assert {word for word in DOTTED.findall(text) if word.split(".")[0] in AREAS} <= dotted, path.name


def test_a_filter_of_log_lines_in_a_runbook_names_only_what_those_lines_have() -> None:
    has = {event.name: {"event", "timestamp", *(field.split(":")[0] for field in event.fields)} for event in EVENTS}
    for path in RUNBOOKS.glob("Salt*.md"):
        for line in re.findall(r"^sidecar_log \| jq \S+ '(.*?)'", path.read_text(encoding="utf-8"), re.MULTILINE):
            names = set(re.findall(r'(?<![\w"])\."?([a-z_.]+)', line))
            events = re.findall(r'\.event == "(.*?)"', line)

            assert events, path.name
            for event in events:
                assert names <= has[event] | (LOW_FIELDS if "salt.lows" in line else set()), f"{path.name}: {event}"


def test_the_dashboards_are_what_their_declaration_says() -> None:
    for name, text in build.files().items():
        assert (build.FOLDER / name).read_text(encoding="utf-8") == text, "run `make docs`"


def test_every_panel_says_what_it_shows_and_asks_only_for_what_exists() -> None:
    every = list(panels())
    for panel in every:
        title = panel["title"]

        assert title
        assert panel["fieldConfig"]["defaults"]["unit"], title
        assert panel["description"].endswith("."), title
        assert panel["targets"], title
        for target in panel["targets"]:
            assert 'job=~"$job",instance=~"$instance"' in target["expr"], title
            assert faults(variables_filled(target["expr"]), KNOWN) == [], title
    assert len(every) > 40


def test_a_dashboard_has_its_variables_and_is_not_edited_in_place() -> None:
    for text in build.files().values():
        dashboard = json.loads(text)
        places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in dashboard["panels"]]

        assert [variable["name"] for variable in dashboard["templating"]["list"]] == ["datasource", "cluster", "namespace", "release", "job", "instance"]
        assert dashboard["editable"] is False
        assert {note["name"] for note in dashboard["annotations"]["list"]} == {"app.start", "bus.disconnected"}
        assert {panel["datasource"]["uid"] for panel in dashboard["panels"] if panel["type"] != "row"} == {"${datasource}"}
        assert len(set(places)) == len(places)
        assert not re.search(r"rate\([^)]*\[\d", text), "a fixed range does not follow the zoom"
