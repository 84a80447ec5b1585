"""The walls around libraries: all of `service` is behind each, no library is without one, and a planted import breaks it."""

from __future__ import annotations

import copy
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import grimp
import pytest
from importlinter import api
from importlinter.contracts.forbidden import ForbiddenContract

ROOT = Path(__file__).resolve().parent.parent
CONFIGURATION = api.read_configuration(str(ROOT / "pyproject.toml"))
WALLS: dict[str, dict[str, Any]] = {wall["name"]: wall for wall in CONFIGURATION["contracts_options"] if wall["type"] == "forbidden"}
# What a wall says beside its name: an option that weakens it, such as `unmatched_ignore_imports_alerting`, is none of these.
OPTIONS = {"name", "type", "source_modules", "forbidden_modules", "allow_indirect_imports", "ignore_imports"}
# They are for types alone and weigh nothing; Python 3.10 has no `Self` of its own.
TYPES = {"_typeshed", "typing_extensions"}
# Where imports got through while each wall had a list of who is behind it: on the ground floor, and in files that came later.
LEAKS = [
    ("service.settings.sources", "salt"),
    ("service.settings.sources", "falcon"),
    ("service.settings.sources", "waitress"),
    ("service.settings.audit_settings", "prometheus_client"),
    ("service.observe.trace.timeline", "prometheus_client"),
    ("service.observe.log.log", "opentelemetry"),
]


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("service", include_external_packages=True, cache_dir=None)


def libraries(graph: grimp.ImportGraph) -> set[str]:
    """Return what `service` imports that is neither Python's nor ours."""
    return {name for name in graph.modules if graph.is_module_squashed(name)} - sys.stdlib_module_names - TYPES


def broken(graph: grimp.ImportGraph, planted: Collection[tuple[str, str]]) -> set[tuple[str, str, str]]:
    """Plant imports, each an importer and a library; return the names of the walls that break, each with the import that broke it."""
    changed = copy.deepcopy(graph)
    for importer, library in planted:
        changed.add_module(importer)
        changed.add_import(importer=importer, imported=library, line_number=1, line_contents=f"import {library}")
    found: set[tuple[str, str, str]] = set()
    for name, wall in WALLS.items():
        check = ForbiddenContract(name, CONFIGURATION["session_options"], wall).check(copy.deepcopy(changed), verbose=False)
        chains = [chain for pair in check.metadata["invalid_chains"] for chain in pair["chains"]]
        found |= {(name, part["importer"], part["imported"]) for chain in chains for part in chain}
    return found


def stopped(planted: Collection[tuple[str, str]]) -> set[tuple[str, str, str]]:
    """Return what is to break when these are planted: the walls of each library."""
    return {(wall, importer, library) for importer, library in planted for wall in walls_of(library)}


def walls_of(library: str) -> set[str]:
    return {name for name, wall in WALLS.items() if library in wall["forbidden_modules"]}


def test_a_wall_is_around_all_of_the_service() -> None:
    assert WALLS
    for wall in WALLS.values():
        assert wall["source_modules"] == ["service"], wall["name"]
        assert wall.keys() <= OPTIONS, wall["name"]


def test_every_library_has_one_wall(graph: grimp.ImportGraph) -> None:
    assert {library for library in libraries(graph) if len(walls_of(library)) != 1} == set(), "say in pyproject.toml who may import it"


def test_a_new_file_may_import_no_library(graph: grimp.ImportGraph) -> None:
    planted = [("service.brand_new", library) for library in libraries(graph)]

    assert planted
    assert broken(graph, planted) == stopped(planted)


def test_an_import_that_once_got_through_is_seen(graph: grimp.ImportGraph) -> None:
    assert broken(graph, LEAKS) == stopped(LEAKS)
