"""
Says of the files of a release what they were made from and by what: an in-toto statement with SLSA's provenance, version 1.

`python -m requirements.release.provenance FOLDER TREE COMMIT`, as requirements/dist runs it. Nobody has signed it: whoever publishes the files does.
Source: https://github.com/in-toto/attestation, spec/v1; https://slsa.dev/spec/v1.0/provenance.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

# How the files are made: requirements/dist, as the commit has it.
BUILD_TYPE = "urn:salt-sidecar:make-dist:1"
UNNAMED_BUILDER = "urn:salt-sidecar:unnamed-builder"
# What pins all that takes part in the making.
LOCKS = ("uv.txt", "build.txt", "e2e.txt", "runtime-3008.txt", "postgres.txt", "oidc.txt")


def statement(made: Path, tree: Path, commit: str, source: str, builder: str) -> dict[str, Any]:
    """
    Return the statement about every file of a folder.

    made: the folder. tree: the commit's files. source: the repository's web address, or "". builder: a URI that stands for whoever ran this, or "".
    """
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": path.name, "digest": _digest(path)} for path in sorted(made.iterdir())],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"commit": commit, **({"source": source} if source else {})},
                "resolvedDependencies": [
                    {"name": "source", "digest": {"gitCommit": commit}, **({"uri": f"git+{source}@{commit}"} if source else {})},
                    *({"name": f"requirements/{lock}", "digest": _digest(tree / "requirements" / lock)} for lock in LOCKS),
                ],
            },
            "runDetails": {"builder": {"id": builder or UNNAMED_BUILDER, "version": {"python": platform.python_version()}}},
        },
    }


def _digest(path: Path) -> dict[str, str]:
    return {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def main(made: str, tree: str, commit: str) -> None:
    """Print the statement, in the same bytes for the same files."""
    source = subprocess.run([Path(__file__).parents[1] / "source"], check=True, capture_output=True, text=True).stdout.strip()
    print(json.dumps(statement(Path(made), Path(tree), commit, source, os.environ.get("BUILDER_ID", "")), indent=2, sort_keys=True))


if __name__ == "__main__":
    main(*sys.argv[1:])
