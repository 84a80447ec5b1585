"""A second try for a step that failed, where somebody counts the tries."""

from __future__ import annotations

import traceback
from collections.abc import Callable

from tests import again
from tests.e2e.report import Report


def until_done(run: Callable[[], None], report: Report) -> None:
    """
    Call *run*, which goes on where it ended, until it ends well; a step may fail once. Raises what a step raised that failed twice.

    Engines, pods and fleets on one busy machine: what fails once is named and counted, what fails twice is a fault.
    """
    tried: set[str] = set()
    while exc := _failure(run):
        failed, report.failed = report.failed, set()
        if not again.counted() or failed & tried or not failed:
            again.note(f"e2e: {name}" for name in tried - failed)
            raise exc
        traceback.print_exception(exc)
        print(f"\n--- {', '.join(sorted(failed))}: failed, once more, on a fresh engine ---", flush=True)
        tried |= failed
    again.note(f"e2e: {name}" for name in tried)


def _failure(run: Callable[[], None]) -> Exception | None:
    try:
        run()
    except Exception as exc:
        return exc
    return None
