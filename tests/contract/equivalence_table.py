"""Runs every equivalence case on a master of its own and prints the table; fails on a difference that is not listed."""

from __future__ import annotations

import collections
import logging
import sys
import tempfile
import warnings
from pathlib import Path

import structlog

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from service.demo.embedded import EmbeddedSalt
    from service.wiring.configuration import read_configuration
    from service.wiring.process import Process
    from tests.contract.conftest import connected
    from tests.contract.equivalence import CASES, CASES_STOPPED, Case, both, verdict
    from tests.contract.reference import Reference


def main() -> int:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    counts: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as folder, EmbeddedSalt(Path(folder), threads=True) as salt:
        process = Process(read_configuration({"SALT_MASTER_CONFIG": str(salt.master_config)}))
        gateway = connected(process)
        with Reference(salt.master_config) as reference:

            def show(case: Case) -> None:
                expected, got = both(case, salt.credentials, reference, process.gateway)
                result = verdict(case, expected, got)
                counts[result] += 1
                print(f"{result:8}{case.name:38}{brief(expected):34}{brief(got):34}{case.differs or ''}", flush=True)

            print(f"{'':8}{'case':38}{'NetapiClient.run':34}{'sidecar':34}reason for a difference")
            for case in CASES:
                show(case)
            salt.stop_minion("minion-2")
            for case in CASES_STOPPED:
                show(case)
        gateway.stop()
    print(", ".join(f"{count} {result}" for result, count in sorted(counts.items())))
    return 1 if counts["WRONG"] else 0


def brief(outcome: tuple[str, object]) -> str:
    """Return an outcome in one short cell."""
    kind, value = outcome
    text = f"raises {value if isinstance(value, str) else type(value).__name__}" if kind == "raised" else repr(value)
    return text if len(text) < 32 else f"{text[:30]}…"


if __name__ == "__main__":
    sys.exit(main())
