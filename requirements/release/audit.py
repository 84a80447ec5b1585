"""
`make audit`: look every package that goes into the images up in a database of advisories. What is found fails, unless advisories.yaml allows it for a while.

The database is OSV's; an expired entry of the list fails whether the database can be asked or not. pip-audit's other service, PyPI's, is not used: what an
index answers with 404, as mirrors do for its JSON, counts there as a package without advisories.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
OSV = "https://api.osv.dev/v1/query"
# pip-audit takes one version of a package at a time.
TOGETHER = (("runtime-3008", "postgres", "oidc", "master-extras"), ("runtime-3007",), ("runtime-3006",))
LONGEST = dt.timedelta(days=92)
ASK_SECONDS = 15
AUDIT_SECONDS = 1200


@dataclasses.dataclass(frozen=True)
class Allowed:
    """An advisory that somebody looked at. until: the first day on which it counts again."""

    advisory: str
    package: str
    until: dt.date
    because: str


@dataclasses.dataclass(frozen=True)
class Found:
    """An advisory about a locked package. names: its identifier and its aliases. fixed: the releases that do not have it, or nothing."""

    package: str
    version: str
    names: tuple[str, ...]
    fixed: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.package} {self.version}: {', '.join(self.names)}; fixed in {', '.join(self.fixed) or 'no release yet'}"


def read_allowed(text: str) -> list[Allowed]:
    """Return the entries of advisories.yaml. Raises ValueError, with the entry, if one is not whole."""
    entries = []
    for entry in yaml.safe_load(text) or []:
        wanted = {field.name: dt.date if field.name == "until" else str for field in dataclasses.fields(Allowed)}
        if not isinstance(entry, dict) or {name: type(value) for name, value in entry.items()} != wanted or not all(entry.values()):
            raise ValueError(f"an entry has {', '.join(wanted)}, and until is a date; not so: {entry}")
        entries.append(Allowed(**entry))
    return entries


def out_of_time(allowed: Iterable[Allowed], today: dt.date) -> list[str]:
    """Return what is wrong with the entries' dates."""
    expired = [f"{entry.advisory} of {entry.package} was allowed until {entry.until}: look again" for entry in allowed if entry.until <= today]
    far = [f"{entry.advisory} of {entry.package}: {entry.until} is more than {LONGEST.days} days ahead" for entry in allowed if entry.until > today + LONGEST]
    return expired + far


def judge(found: Iterable[Found], allowed: Sequence[Allowed], today: dt.date) -> tuple[list[str], list[Allowed]]:
    """Return what nobody allows today, and the entries that nothing needs any more."""
    needed: set[Allowed] = set()
    faults = []
    for finding in found:
        entries = {entry for entry in allowed if entry.package == finding.package and entry.advisory in finding.names}
        needed |= entries
        if not any(entry.until > today for entry in entries):
            faults.append(str(finding))
    return faults, [entry for entry in allowed if entry not in needed]


def unreachable(url: str) -> str:
    """Return why the database cannot be asked, or nothing."""
    question = urllib.request.Request(url, json.dumps({"package": {"name": "salt", "ecosystem": "PyPI"}, "version": "3006.0"}).encode())
    try:
        with urllib.request.urlopen(question, timeout=ASK_SECONDS) as answer:
            json.load(answer)
    except (OSError, ValueError) as exc:
        return str(exc) or type(exc).__name__
    return ""


def look_up(locks: Sequence[Path], url: str) -> list[Found]:
    """Return the advisories about what lock files pin. Raises RuntimeError if any of it could not be looked up."""
    files = [word for lock in locks for word in ("--requirement", str(lock))]
    options = ["--disable-pip", "--require-hashes", "--progress-spinner=off", "--format=json", "--vulnerability-service=osv", f"--osv-url={url}"]
    done = subprocess.run([sys.executable, "-m", "pip_audit", *options, *files], check=False, capture_output=True, text=True, timeout=AUDIT_SECONDS)
    if not done.stdout.startswith("{"):
        raise RuntimeError(f"pip-audit ended with {done.returncode}: {done.stderr[-2000:]}")
    packages: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    if skipped:
        raise RuntimeError(f"not looked up: {', '.join(skipped)}")
    print(f"looked up {len(packages)} packages of {', '.join(lock.name for lock in locks)}")
    return [
        Found(package["name"], package["version"], (advisory["id"], *advisory["aliases"]), tuple(advisory["fix_versions"]))
        for package in packages
        for advisory in package["vulns"]
    ]


def main() -> int:
    """Return 1 if something was found that nobody allows, an entry's time is up, or the database had to be asked and could not be."""
    parser = argparse.ArgumentParser(prog="make audit", description=__doc__)
    parser.add_argument("--url", default=OSV, help="OSV's API, or a mirror of it")
    parser.add_argument("--allowed", type=Path, default=HERE / "advisories.yaml")
    parser.add_argument("--required", action="store_true", help="fail where the database cannot be asked")
    arguments = parser.parse_args()
    allowed, today = read_allowed(arguments.allowed.read_text(encoding="utf-8")), dt.datetime.now(dt.timezone.utc).date()
    faults = out_of_time(allowed, today)
    why = unreachable(arguments.url)
    if why:
        print(f"NOT AUDITED: no answer from {arguments.url} ({why}). Of {arguments.allowed.name} only the dates were checked.")
        faults += [why] if arguments.required else []
    else:
        found = {finding for names in TOGETHER for finding in look_up([HERE.parent / f"{name}.txt" for name in names], arguments.url)}
        unknown, idle = judge(sorted(found, key=str), allowed, today)
        faults += unknown
        print("".join(f"{entry.advisory} of {entry.package} is not found any more: take it off the list\n" for entry in idle), end="")
    print("".join(f"FAULT: {fault}\n" for fault in faults) or f"no fault; {len(allowed)} allowed\n", end="")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
