"""Every closed set holds in both directions: what is declared is used, and what is used is declared."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator

import pytest

from service.errors import FAULTS
from service.observe.log.event_names import EVENTS
from service.observe.metrics import domains
from service.observe.metrics.catalogue import CATALOGUE
from service.observe.metrics.metrics import Metrics
from service.observe.metrics.v1_metrics import V1Metrics
from service.observe.report.job_report import JobReport
from service.observe.report.master_report import MasterReport
from service.observe.report.report import Report
from service.wiring.requests import REJECTIONS
from tests.declared.code import attributes_read, nodes, outside, text_of, texts
from tests.declared.lines import lines
from tests.declared.options import declared, read

DECLARED = {event.name: {field.partition(":")[0] for field in event.fields} for event in EVENTS}
# A request's id is bound to its thread; the fields of an audit record are docs/audit.md's.
BOUND = frozenset({"request_id"})
ELSEWHERE = frozenset({"audit"})
# Values that come from the master or a caller and are only let through, and numbers' names.
OTHERS_WORDS = frozenset({"METHODS", "EVENT_TYPES", "AUTH_ACTS", "SEEN_WINDOWS", "LIMITED"})
METRIC_NAMES = {declaration.name for declaration in CATALOGUE}


def test_every_log_event_is_declared_and_logged() -> None:
    assert {line.event for line in lines()} == DECLARED.keys()


def test_no_line_has_a_field_that_is_not_declared() -> None:
    undeclared = {(line.event, field) for line in lines() for field in line.fields - DECLARED.get(line.event, set())}

    assert undeclared == set()


def test_every_declared_field_of_a_log_event_is_written() -> None:
    keywords = {node.arg for node in outside() if isinstance(node, ast.keyword) and node.arg}
    anywhere = texts("service/observe/log/event_names.py") | keywords
    for event, fields in DECLARED.items():
        places = [line for line in lines() if line.event == event]
        written = BOUND.union(*(line.fields for line in places), anywhere if any(line.open for line in places) else ())

        assert event in ELSEWHERE or fields <= written, f"{event}: {fields - written}"


def feeding_files() -> list[str]:
    """Return the files that have the metrics' objects."""
    return [
        name for name, found in nodes().items() if any(isinstance(node, ast.ImportFrom) and node.module == "service.observe.metrics.families" for node in found)
    ]


def fed_metrics(name: str) -> Iterator[str]:
    """Yield the names of metrics in a file that stand where one is fed: not where only its series are made, or its name is looked up."""
    idle: set[int] = set()
    for node in nodes()[name]:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr == "initialise":
                idle |= {id(part) for part in ast.walk(node.func)}
            elif node.func.attr in {"admit", "known", "value"}:
                idle |= {id(argument) for argument in node.args}
    yield from (text for node in nodes()[name] if id(node) not in idle and (text := text_of(node)) and text.startswith("salt_"))


def test_every_metric_is_declared_and_fed() -> None:
    assert {metric for name in feeding_files() for metric in fed_metrics(name)} == METRIC_NAMES


@pytest.mark.parametrize(
    ("owner", "called"),
    [(Metrics, {"metrics"}), (V1Metrics, {"v1"}), (JobReport, {"observer", "jobs"}), (Report, {"report"}), (MasterReport, {"observer"})],
)
def test_every_verb_that_feeds_metrics_or_logs_is_called(owner: type, called: set[str]) -> None:
    """called: what those who have one call it; verbs of the same name on something else do not count."""
    verbs = {name for name, member in vars(owner).items() if inspect.isfunction(member) and not name.startswith("_")}
    own = owner.__module__.replace(".", "/") + ".py"
    attributes = [node for node in outside(own) if isinstance(node, ast.Attribute) and node.attr in verbs]
    used = {node.attr for node in attributes if ast.unparse(node.value).rpartition(".")[2].strip("_") in called}

    # Only tests read metrics with `value`.
    assert verbs - used - {"value"} == set()


def test_every_value_of_a_label_is_used() -> None:
    used = texts(
        "service/observe/metrics/domains.py",
        "service/observe/metrics/catalogue.py",
        "service/observe/metrics/salt_metrics.py",
        "service/observe/log/event_names.py",
    )
    closed = {name: values for name, values in vars(domains).items() if isinstance(values, tuple) and name not in OTHERS_WORDS}

    assert {(name, value) for name, values in closed.items() for value in values if value not in used} == set()
    assert set(domains.LIMITED) <= METRIC_NAMES


def test_every_option_is_read() -> None:
    assert declared() - read() == set()


def kinds_of_faults() -> set[str]:
    """Return the names of the faults that are declared."""
    return {kind.kind for kind in FAULTS}


def test_every_kind_of_fault_is_raised() -> None:
    made = {ast.unparse(node.func) for node in outside() if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    raised = {ast.unparse(node.exc) for node in outside() if isinstance(node, ast.Raise) and node.exc}

    assert kinds_of_faults() - made - raised == set()


def test_a_fault_says_when_to_come_back_as_its_kind_declares() -> None:
    said: dict[str, set[bool]] = {}
    for node in outside("service/errors.py"):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in kinds_of_faults():
            said.setdefault(ast.unparse(node.func), set()).add(any(keyword.arg == "retry_after_seconds" for keyword in node.keywords))
    meant = {"never": {False}, "sometimes": {False, True}, "always": {True}}

    assert {kind.kind: meant[kind.retry_after] for kind in FAULTS if kind.kind in said} == said


def test_a_refusal_is_counted_by_a_fault_that_exists_under_a_reason_that_is_declared() -> None:
    assert REJECTIONS.keys() <= kinds_of_faults()
    assert set(REJECTIONS.values()) <= set(domains.REJECTIONS)


def test_every_field_of_a_dataclass_and_of_a_named_tuple_is_read() -> None:
    read_somewhere = attributes_read()
    fields = {
        (name, node.name, field.target.id)
        for name, found in nodes().items()
        for node in found
        if isinstance(node, ast.ClassDef) and re.search("dataclass|NamedTuple", " ".join(map(ast.unparse, (*node.decorator_list, *node.bases))))
        for field in node.body
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
    }

    assert fields
    assert {place for place in fields if place[2] not in read_somewhere} == set()
