"""CONTRIBUTING's lists of the files to edit for something new are true of something that is there: they lack no file and have none too many."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable

import pytest

from service.clients import CLIENTS
from service.observe.log.event_names import EVENTS
from service.observe.metrics.catalogue import CATALOGUE
from service.routes import API, OPS
from service.settings.settings import options
from tests.declared.code import ROOT

HEADING = re.compile(r"^### (?P<kind>A .*|An .*), such as `(?P<example>[^`]+)`$", re.MULTILINE)
KINDS = {
    "A setting": set(options()),
    "A metric": {declaration.name for declaration in CATALOGUE},
    "A log event": {event.name for event in EVENTS},
    "A URL": {*(route.template for route in API), *(route.template for route in OPS)},
    "A client": set(CLIENTS),
}
WRITTEN_BYTES = 1_000_000
SHIPPED = ("service", "config", "helm", "docs", "README.md", "SECURITY.md", "Makefile", "compose.yaml", "Dockerfile")


def recipes() -> dict[str, tuple[str, set[str]]]:
    """Return by kind the example and the files that its section names."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    found = {}
    for heading in HEADING.finditer(text):
        section = re.split(r"^##", text[heading.end() :], maxsplit=1, flags=re.MULTILINE)[0]
        found[heading["kind"]] = (heading["example"], {name for name in re.findall(r"`([\w./-]+)`", section) if (ROOT / name).is_file()})
    return found


def spelling(kind: str, example: str) -> re.Pattern[str]:
    """Return how files spell an example. A URL is also in many an example of a call; a file that has to know it has it as a text, a heading or its class."""
    if kind == "A URL":
        (route,) = (route for route in API if route.template == example)
        return re.compile(rf'"{re.escape(example)}"|\b{route.resource.__name__}\b|^### {re.escape(example)}$', re.MULTILINE)
    return re.compile(rf"\b{re.escape(example.rpartition('.')[2] if kind == 'A setting' else example)}\b", re.IGNORECASE)


def naming(kind: str, example: str, folders: Iterable[str] = SHIPPED) -> set[str]:
    """Return the files that have an example in them, by their paths."""
    pattern = spelling(kind, example)
    # To look for a plain word first takes a tenth of the time.
    word = "" if kind == "A URL" else example.rpartition(".")[2].lower()
    return {name for folder in folders for name, (text, lower) in _texts(folder).items() if word in lower and pattern.search(text)}


@functools.cache
def _texts(folder: str) -> dict[str, tuple[str, str]]:
    """Return what somebody has written in the files of a folder, or in this one, and in small letters; what a machine has put together is none."""
    paths = [ROOT / folder] if (ROOT / folder).is_file() else (ROOT / folder).rglob("*")
    written = (path for path in paths if path.suffix not in {".pyc", ".png"} and path.is_file() and path.stat().st_size < WRITTEN_BYTES)
    texts = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8", errors="replace") for path in written}
    return {name: (text, text.lower()) for name, text in texts.items()}


def test_there_is_a_list_for_each_kind_and_its_example_exists() -> None:
    assert recipes().keys() == KINDS.keys()
    assert all(example in KINDS[kind] for kind, (example, _) in recipes().items())


@pytest.mark.parametrize("kind", KINDS)
def test_the_list_has_the_files_that_name_its_example_and_no_others(kind: str) -> None:
    example, listed = recipes()[kind]

    named = naming(kind, example)

    assert {name for name in listed if not name.startswith("tests/")} == named


@pytest.mark.parametrize("kind", KINDS)
def test_the_list_has_a_test_that_names_its_example(kind: str) -> None:
    example, listed = recipes()[kind]
    tests = {name for name in listed if name.startswith("tests/")}

    assert tests
    assert tests <= naming(kind, example, tests)
