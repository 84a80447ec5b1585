"""The walls around libraries: all of `service` is behind each, no library is without one, and a planted import breaks it."""

from __future__ import annotations

import copy
import sys
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


def broken(graph: grimp.ImportGraph, importer: str, library: str) -> set[str]:
    """Plant an import; return the names of the walls that it breaks."""
    planted = copy.deepcopy(graph)
    planted.add_module(importer)
    planted.add_import(importer=importer, imported=library, line_number=1, line_contents=f"import {library}")
    contracts = [ForbiddenContract(name, CONFIGURATION["session_options"], wall) for name, wall in WALLS.items()]
    return {contract.name for contract in contracts if not contract.check(copy.deepcopy(planted), verbose=False).kept}


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
    for library in sorted(libraries(graph)):
        assert broken(graph, "service.brand_new", library) == walls_of(library)


@pytest.mark.parametrize(("importer", "library"), LEAKS)
def test_an_import_that_once_got_through_is_seen(graph: grimp.ImportGraph, importer: str, library: str) -> None:
    assert broken(graph, importer, library) == walls_of(library)
