"""requirements/image/build and commit, with a `docker` that says what it was given."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.unit.test_versions import ROOT, TAG

# Each row runs git and the script, some dozen processes.
pytestmark = pytest.mark.slow

HERE = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "GIT_CEILING_DIRECTORIES": "/"}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with what the script reads, and no repository."""
    tree = tmp_path / "tree"
    (tree / "requirements" / "image").mkdir(parents=True)
    for script in ("image/build", "image/commit", "source"):
        shutil.copy(ROOT / "requirements" / script, tree / "requirements" / script)
    shutil.copy(ROOT / "Dockerfile", tree)
    docker = tmp_path / "docker"
    docker.write_text('#!/bin/sh\nprintf "%s " "$@"\n')
    docker.chmod(0o755)
    return tree


def git(tree: Path, *words: str) -> None:
    subprocess.run(
        ["git", "-C", tree, "-c", "user.name=a", "-c", "user.email=a@example.org", *words], check=True, capture_output=True, env={**os.environ, **HERE}
    )


def committed(tree: Path, origin: str = "") -> None:
    git(tree, "init")
    git(tree, "add", ".")
    git(tree, "commit", "--message=a", "--date=2026-01-02T03:04:05+02:00")
    if origin:
        git(tree, "remote", "add", "origin", origin)


def build(tree: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    environ = {"DOCKER": str(tree.parent / "docker"), **environ}
    return subprocess.run(
        [tree / "requirements" / "image" / "build", *words], env={**os.environ, **HERE, **environ}, capture_output=True, text=True, check=False
    )


def built(tree: Path, *words: str, **environ: str) -> tuple[dict[str, str], list[str]]:
    """Return the build arguments of the last build, and the tags of all."""
    done = build(tree, *words, **environ)
    assert done.returncode == 0, done.stderr
    return dict(re.findall(r"--build-arg (\w+)=(\S+)", done.stdout)), re.findall(r"--tag (\S+) ", done.stdout)


def test_a_commit_is_named_and_dated(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2026-01-02T03:04:05+02:00")
    committed(tree)

    arguments, tags = built(tree)

    assert tags == [f"salt:{TAG}", f"salt-sidecar:{TAG}"]
    assert re.fullmatch("[0-9a-f]{40}", arguments["REVISION"])
    assert arguments["CREATED"] == "2026-01-02T01:04:05Z"


def test_a_change_that_is_not_committed_is_said(tree: Path) -> None:
    committed(tree)
    (tree / "more").touch()

    assert built(tree)[0]["REVISION"].endswith("-dirty")


def test_without_a_repository_nothing_is_made_up(tree: Path) -> None:
    assert not {"REVISION", "CREATED", "SOURCE_URL"} & set(built(tree)[0])


@pytest.mark.parametrize(
    ("origin", "source"),
    [
        ("https://git.example.org/a/b.git", "https://git.example.org/a/b.git"),
        ("https://somebody:password@git.example.org/a/b", "https://git.example.org/a/b"),
        ("git@git.example.org:a/b.git", None),
        ("/srv/a/b", None),
    ],
)
def test_the_source_is_the_web_address_of_origin_without_credentials(tree: Path, origin: str, source: str | None) -> None:
    committed(tree, origin)

    assert built(tree)[0].get("SOURCE_URL") == source


def test_another_salt_and_a_registry_are_in_the_tags(tree: Path) -> None:
    arguments, tags = built(tree, SALT_VERSION="3007.15", REGISTRY="registry.example.org", SOURCE_URL="https://example.org")

    assert tags[1] == f"registry.example.org/salt-sidecar:{TAG.partition('-')[0]}-salt3007.15"
    assert (arguments["SALT_VERSION"], arguments["SOURCE_URL"]) == ("3007.15", "https://example.org")


OTHER = ("--build-arg", "PYTHON_IMAGE=registry.example.org/python:3.13")
DIGEST = f"sha256:{'0' * 64}"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (OTHER, "another base image has another digest; add --build-arg PYTHON_DIGEST=sha256:..."),
        (("--build-arg=PYTHON_IMAGE=python:3.13", "--pull"), "or --build-arg PYTHON_DIGEST= if it has none"),
        (("--build-arg", f"PYTHON_IMAGE=python:3.13@{DIGEST}"), "the digest goes into PYTHON_DIGEST"),
    ],
)
def test_another_base_image_without_its_digest_is_refused_before_anything_is_built(tree: Path, words: tuple[str, ...], said: str) -> None:
    done = build(tree, *words)

    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


@pytest.mark.parametrize("digest", [DIGEST, ""])
def test_another_base_image_is_built_on_with_its_digest_or_with_word_that_it_has_none(tree: Path, digest: str) -> None:
    said = build(tree, *OTHER, "--build-arg", f"PYTHON_DIGEST={digest}").stdout

    assert f"--build-arg {OTHER[1]} --build-arg PYTHON_DIGEST={digest} --target salt" in said


def test_the_builder_is_given_all_that_the_dockerfile_takes_from_the_folder() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    copied = [source for line in re.findall(r"^COPY (?!--from)(.*)$", dockerfile, re.MULTILINE) for source in line.split()[:-1]]
    given = {line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line.startswith("!")}

    assert {*copied, *re.findall(r"type=bind,source=([\w/.-]+)", dockerfile)} == given
