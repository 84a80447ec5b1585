"""A plugin of pytest's that says what each test took of the CPU, for `make costs`; where other work is done beside it the figures are up to twice as high."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Generator

import pytest

# Of one test, with all that is set up for it; as a mean of a function's rows.
COSTLY_SECONDS = 0.020
# The rules of the tree are what `make check` is for, whatever they cost.
RULES = ("tests/test_", "tests/declared/", "tests/documented/")
TAKEN: dict[tuple[str, bool], list[float]] = defaultdict(list)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    began = time.process_time()
    result = yield
    name = item.nodeid.partition("[")[0]
    TAKEN[name, item.get_closest_marker("costly") is not None].append(time.process_time() - began)
    return result


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    means = sorted(((sum(taken) / len(taken), name, marked) for (name, marked), taken in TAKEN.items()), reverse=True)
    total = sum(map(sum, TAKEN.values()))
    costly = sum(sum(taken) for (_name, is_marked), taken in TAKEN.items() if is_marked)
    terminalreporter.section("what tests take of the CPU")
    terminalreporter.line(f"{total:.1f} s, of which {costly:.1f} s are marked `costly`")
    for mean, name, marked in means:
        if mean > COSTLY_SECONDS and not marked and not name.startswith(RULES):
            terminalreporter.line(f"{1000 * mean:6.1f} ms, to be marked: {name}")
        elif mean < COSTLY_SECONDS / 2 and marked:
            terminalreporter.line(f"{1000 * mean:6.1f} ms, needs the mark no more: {name}")
