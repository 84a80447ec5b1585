"""What `make dist` says of its own files: lists of packages that agree with each other, and a provenance that the reference library takes."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.e2e.images import ROOT
from tests.e2e.report import Report
from tests.e2e.shell import require, run

EXTRAS = ("postgres.txt", "oidc.txt")


def check(made: Path, report: Report) -> None:
    """Look into the lists and the provenance of a folder that requirements/dist made."""
    _listed(made, report)
    _proven(made, report)


def _listed(made: Path, report: Report) -> None:
    lists = {path.name.removesuffix(".cdx.json"): json.loads(path.read_text()) for path in made.glob("*.cdx.json")}
    for path in made.glob("*.cdx.json"):
        wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(path.read_text())
        require(wrong is None, f"{path.name} is not as CycloneDX 1.6 has it: {wrong}")
    locks = {path.stem for path in made.glob("runtime-*.txt")}
    require(lists.keys() == {*locks, "environment"}, f"lists of {sorted(lists)}")
    for lock in locks:
        require(_packages(lists[lock]) == _pinned(made, lock, anywhere=True), f"the list of {lock} differs from the lock file")
        require(all(_hashes(component) for component in lists[lock]["components"]), f"a package of {lock} has no hash")
    require(_packages(lists["environment"]) == _pinned(made, "runtime-3008", anywhere=False), "the environment differs from what runtime-3008.txt gives here")
    report.found("lists of packages", ", ".join(f"{name}: {len(listed['components'])}" for name, listed in sorted(lists.items())))


def _packages(listed: dict[str, Any]) -> set[tuple[str, str]]:
    return {(canonicalize_name(component["name"]), component["version"]) for component in listed["components"]}


def _hashes(component: dict[str, Any]) -> list[str]:
    return [digest["content"] for reference in component.get("externalReferences", ()) for digest in reference.get("hashes", ())]


def _pinned(made: Path, lock: str, *, anywhere: bool) -> set[tuple[str, str]]:
    """Return name and version of what the lock and the extras pin. anywhere: on any machine, not only on this one."""
    text = "\n".join((made / name).read_text() for name in (f"{lock}.txt", *EXTRAS))
    pins = [Requirement(line) for line in re.findall(r"^(\S+==.*?) \\$", text, re.MULTILINE)]
    return {(canonicalize_name(pin.name), str(pin.specifier)[2:]) for pin in pins if anywhere or not pin.marker or pin.marker.evaluate()}


def _proven(made: Path, report: Report) -> None:
    text = (made / "provenance.json").read_text()
    # Parsing refuses a field that the formats do not have.
    Statement.copy_from_pb(json_format.Parse(text, statement_pb2.Statement())).validate()
    said = json.loads(text)
    json_format.ParseDict(said["predicate"], provenance_pb2.Provenance())
    subjects = {subject["name"]: subject["digest"]["sha256"] for subject in said["subject"]}
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in made.iterdir() if path.name not in {"provenance.json", "SHA256SUMS"}}
    require(subjects == files, f"the provenance is about other files: {subjects.items() ^ files.items()}")
    commit = said["predicate"]["buildDefinition"]["resolvedDependencies"][0]["digest"]["gitCommit"]
    require(commit == run("git", "rev-parse", "HEAD", cwd=ROOT).strip(), f"the provenance names {commit}")
    report.found("provenance", f"in-toto statement, SLSA provenance v1, {len(subjects)} files, commit {commit[:12]}")
