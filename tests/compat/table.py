"""Sends every request to both servers beside a master of its own and prints the table: `make compat`, `make compat ONLY='login*'`."""

from __future__ import annotations

import collections
import fnmatch
import sys
import tempfile
import warnings
from pathlib import Path

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from service.demo.embedded import EmbeddedSalt
    from tests.compat.compare import Everywhere
    from tests.compat.comparison import Outcome, comparison
    from tests.compat.differences import EVERYWHERE, RESPELLED
    from tests.compat.requests import REQUESTS
    from tests.compat.spelled import Respeller, respellings


def main(pattern: str) -> int:
    wanted = [request for request in REQUESTS if fnmatch.fnmatch(request.name, pattern)]
    counts: collections.Counter[str] = collections.Counter()
    general: collections.Counter[Everywhere] = collections.Counter()
    with tempfile.TemporaryDirectory() as folder, EmbeddedSalt(Path(folder) / "salt", threads=True) as salt, comparison(Path(folder), salt) as compared:
        print(f"{'':10}{'request':46}{'rest_cherrypy':15}{'sidecar':15}in what, and why")
        for request in wanted:
            outcome = compared.run(request)
            counts[outcome.verdict.result] += 1
            general.update(outcome.verdict.general)
            show(outcome, whole=pattern != "*")
        faults = show_spellings(compared.respeller()) if pattern == "*" else 0
    print(f"\n{'':10}{'wherever it occurs':46}{'answers':30}why")
    for rule in EVERYWHERE:
        print(f"{rule.kind:10}{rule.aspect:46}{general[rule]:<30}{rule.reason}")
    total = ", ".join(f"{counts[result]} {result}" for result in ("equal", "better", "different"))
    print(f"\nrequests sent to each: {len(wanted)}; {total} (but for what is listed last); unlisted differences: {counts['WRONG']}")
    return 1 if counts["WRONG"] or faults else 0


def show(outcome: Outcome, *, whole: bool) -> None:
    """Print the row of a request, and both answers where they are wanted or wrong."""
    theirs, ours = outcome.answers
    verdict = outcome.verdict
    print(f"{verdict.result:10}{outcome.request.name:46}{theirs.status:<15}{ours.status:<15}{verdict.reason}", flush=True)
    for fault in outcome.faults():
        print(f"{'':12}{fault}")
    if whole:
        for name, answer in (("rest_cherrypy", theirs), ("sidecar", ours)):
            print(f"{'':10}  {name}: {answer.status} {answer.headers}\n{'':12}{answer.text()[:1000]}")


def show_spellings(respeller: Respeller) -> int:
    """Print a row for each field of each client, with how many spellings of its values differ; returns how many do so wrongly."""
    reasons: collections.Counter[str] = collections.Counter()
    total, wrong = 0, 0
    print(f"\n{'':10}{'field':46}{'spellings':15}differ")
    for client, field, spellings in respellings():
        sent = list(respeller.send(client, field, spellings))
        print(f"{'':10}{f'{client} {field}':46}{len(sent):<15}{sum(bool(one.rules) for one in sent)}", flush=True)
        for fault in (fault for one in sent for fault in one.faults()):
            print(f"{'':12}{fault}")
            wrong += 1
        total += len(sent)
        reasons.update(rule.reason for one in sent for rule in one.rules)
    print(f"\n{'':10}{'spellings that differ':46}{'of ' + str(total):15}why")
    for rule in RESPELLED:
        print(f"{rule.kind:10}{'':46}{reasons[rule.reason]:<15}{rule.reason}")
    return wrong


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "*"))
