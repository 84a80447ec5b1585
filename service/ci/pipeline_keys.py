"""The keys of what a pipeline asks for: the same step again gets the same job, and another one another."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import uuid
from pathlib import Path
from typing import Any


class PipelineKeys:
    """
    The keys of what one job of a pipeline asks for, and how often it has learned the end of each.

    What never learned its end has the key that it had: a step that is tried again gets the first one's job. A new attempt at the pipeline has new keys.
    """

    def __init__(self, environ: dict[str, str]) -> None:
        self._name, folder = run_of(environ)
        self._path = Path(folder, f".salt-ci-{hashlib.sha256(self._name.encode()).hexdigest()[:16]}.json") if folder else None

    def key(self, path: str, request: dict[str, Any]) -> str:
        """Return the key of a request."""
        if not self._name:
            return f"salt-ci-{uuid.uuid4()}"
        print_ = fingerprint(path, request)
        return f"{re.sub('[^!-~]', '_', self._name)[:200]}-{print_}-{self._ended().get(print_, 0) + 1}"

    def over(self, path: str, request: dict[str, Any]) -> None:
        """Remember that the end of a request is known: the same one again is another."""
        if self._path is not None:
            ended, print_ = self._ended(), fingerprint(path, request)
            with contextlib.suppress(OSError):
                self._path.write_text(json.dumps({**ended, print_: ended.get(print_, 0) + 1}), encoding="utf-8")

    def _ended(self) -> dict[str, int]:
        try:
            return dict(json.loads(self._path.read_text(encoding="utf-8"))) if self._path else {}
        except (OSError, ValueError):
            return {}


def fingerprint(path: str, request: dict[str, Any]) -> str:
    """Return what requests for the same have in common."""
    return hashlib.sha256(json.dumps([path, request], sort_keys=True).encode()).hexdigest()[:12]


def run_of(environ: dict[str, str]) -> tuple[str, str]:
    """Return the name of this run of a job of a pipeline, and a folder that is the run's own; both empty where nobody says."""
    get = environ.get
    if get("GITHUB_ACTIONS") == "true":
        # The jobs of a matrix differ in nothing but their runner.
        return "gh-" + "-".join(get(f"GITHUB_{one}", "") for one in ("REPOSITORY_ID", "RUN_ID", "RUN_ATTEMPT", "JOB")) + "-" + get("RUNNER_NAME", ""), get(
            "RUNNER_TEMP", ""
        )
    if get("GITLAB_CI") == "true":
        return f"gl-{get('CI_PROJECT_ID', '')}-{get('CI_JOB_ID', '')}", get("CI_PROJECT_DIR", "")
    return (get("BUILD_TAG", ""), get("WORKSPACE_TMP") or get("WORKSPACE", "")) if get("JENKINS_URL") else ("", "")


def cause_of(environ: dict[str, str]) -> str | None:
    """Return where a pipeline's run is shown."""
    get = environ.get
    if get("GITHUB_SERVER_URL"):
        return "/".join(get(f"GITHUB_{one}", "") for one in ("SERVER_URL", "REPOSITORY")) + f"/actions/runs/{get('GITHUB_RUN_ID', '')}"
    return get("CI_JOB_URL") or get("BUILD_URL") or None
