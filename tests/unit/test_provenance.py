"""What the provenance says of a folder of files; `make e2e` has the reference library judge the real one."""

from __future__ import annotations

import hashlib
from pathlib import Path

from requirements.release.provenance import LOCKS, UNNAMED_BUILDER, statement
from tests.unit.test_versions import ROOT

COMMIT = "a" * 40


def test_every_file_is_a_subject_and_every_lock_a_dependency(tmp_path: Path) -> None:
    (tmp_path / "b.whl").write_bytes(b"b")
    (tmp_path / "a.txt").write_bytes(b"a")

    said = statement(tmp_path, ROOT, COMMIT, "https://git.example.org/a", "https://ci.example.org/1")

    assert [(subject["name"], subject["digest"]["sha256"]) for subject in said["subject"]] == [
        (name, hashlib.sha256(name[:1].encode()).hexdigest()) for name in ("a.txt", "b.whl")
    ]
    dependencies = said["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert dependencies[0] == {"name": "source", "digest": {"gitCommit": COMMIT}, "uri": f"git+https://git.example.org/a@{COMMIT}"}
    assert [dependency["name"] for dependency in dependencies[1:]] == [f"requirements/{lock}" for lock in LOCKS]
    assert said["predicate"]["runDetails"]["builder"]["id"] == "https://ci.example.org/1"


def test_what_is_not_known_is_not_made_up(tmp_path: Path) -> None:
    predicate = statement(tmp_path, ROOT, COMMIT, "", "")["predicate"]

    assert predicate["buildDefinition"]["externalParameters"] == {"commit": COMMIT}
    assert "uri" not in predicate["buildDefinition"]["resolvedDependencies"][0]
    assert predicate["runDetails"]["builder"]["id"] == UNNAMED_BUILDER
