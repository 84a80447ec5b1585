"""The docker command is looked up when it is needed, and judged by what it can do."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e import machine
from tests.e2e.shell import StepFailed

BUILDS = '[ "$DOCKER_BUILDKIT" = 1 ] && echo "      --secret stringArray"'
LACKS_BUILDX = "echo 'ERROR: BuildKit is enabled but the buildx component is missing or broken.' >&2; exit 1"
OLD = "echo '      --tag list'"


def docker(folder: Path, script: str) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "docker").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "docker").chmod(0o755)
    return str(folder / "docker")


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path / 'first'}:{tmp_path / 'second'}")
    return tmp_path


@pytest.mark.parametrize("other", [LACKS_BUILDX, OLD], ids=["lacks buildx", "old"])
def test_a_client_that_cannot_build_is_passed_over(path: Path, other: str) -> None:
    docker(path / "first", other)
    wanted = docker(path / "second", BUILDS)

    assert machine.docker_client(str(path / "own")) == wanted


def test_the_client_that_came_with_the_engine_is_preferred(path: Path) -> None:
    docker(path / "first", BUILDS)
    wanted = docker(path / "own", BUILDS)

    assert machine.docker_client(str(path / "own")) == wanted


def test_a_client_that_is_installed_later_is_found(path: Path) -> None:
    docker(path / "first", LACKS_BUILDX)
    with pytest.raises(StepFailed, match="apt-get install"):
        machine.docker_client(str(path / "own"))

    installed = docker(path / "own", BUILDS)

    assert machine.docker_client(str(path / "own")) == installed
