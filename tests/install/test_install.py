"""requirements/install gives what the lock files say, whatever pip the machine has and whatever was released since; and nothing else."""

from __future__ import annotations

import dataclasses
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.install.index import Index, Wheel, serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
# As with pytest-cov and coverage[toml]: before 23.3 pip does not apply the pin of a package to the package with an extra.
PLUGIN = Wheel("trial-plugin", "1.0", ("Requires-Dist: trial-cover[toml]>=1.0",))
COVER = [Wheel("trial-cover", version, ("Provides-Extra: toml",)) for version in ("1.0", "2.0")]
# Those of Ubuntu 22.04, Debian 12 and Ubuntu 24.04, by their hashes on PyPI.
PIPS = {
    "22.0.2": "682eabc4716bfce606aca8dab488e9c7b58b0737e9001004eb858cdafcd8dbdd",
    "23.0.1": "236bcb61156d76c4b8a05821b988c7b8c35bf0da28a4b614e8d6ab5212c25c6f",
    "24.0": "ba0d021a166865d2265246961bec0152ff124de910c5cc39f1156ce3fa7c69dc",
}
# A python whose venv brings a pip of our choice, and notes it.
PYTHON = """#!/bin/sh
set -e
{python} "$@"
case " $* " in *" -m venv "*)
    for folder; do :; done
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r {pip}
    "$folder/bin/python" -m pip --version >>{used}
esac
"""


@dataclasses.dataclass(frozen=True)
class Tree:
    """A copy of what makes environments, without the locks of this project."""

    folder: Path
    index: Index

    def lock(self, *lines: str) -> None:
        (self.folder / "requirements" / "trial.txt").write_text("".join(lines))

    def install(self, python: str | Path = sys.executable, told: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run it. told: variables that name the index, in the place of uv's own."""
        del self.index.asked[:]
        # The packages of the lock are found here by uv as by pip; where pip finds uv is the machine's own business.
        places = {"PIP_EXTRA_INDEX_URL": self.index.url, "UV_CACHE_DIR": str(self.folder / "cache"), **(told or {"UV_DEFAULT_INDEX": self.index.url})}
        argv = [str(self.folder / "requirements" / "install"), ".venv", "trial.txt"]
        return subprocess.run(argv, env={**os.environ, **places, "PYTHON": str(python)}, capture_output=True, text=True, timeout=500, check=False)

    def holds(self) -> dict[str, str]:
        """Return the versions of the trial's packages in the environment."""
        infos = (self.folder / ".venv").glob("lib/python*/site-packages/trial_*.dist-info")
        return dict(info.name.removesuffix(".dist-info").split("-") for info in infos)


@pytest.fixture(scope="module")
def made_tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tree]:
    folder, wheels = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("wheels")
    shutil.copytree(ROOT / "requirements", folder / "requirements")
    with serving(wheels) as index:
        index.add(PLUGIN, *COVER)
        yield Tree(folder, index)


@pytest.fixture
def tree(made_tree: Tree) -> Tree:
    """Give the tree without an environment; what fetched the installer for an earlier test stays."""
    shutil.rmtree(made_tree.folder / ".venv", ignore_errors=True)
    return made_tree


@pytest.mark.parametrize("version", PIPS)
def test_any_pip_installs_the_pins_though_the_index_has_newer_releases(tree: Tree, tmp_path: Path, version: str) -> None:
    if sys.version_info >= (3, 12) and version != "24.0":
        pytest.skip(f"no Python of this age came with pip {version}, which does not run on it")
    used, pip, python = tmp_path / "used", tmp_path / "pip.txt", tmp_path / "python"
    pip.write_text(f"pip=={version} --hash=sha256:{PIPS[version]}\n")
    python.write_text(PYTHON.format(python=shlex.quote(os.path.realpath(sys.executable)), pip=pip, used=used))
    python.chmod(0o755)
    tree.lock(tree.index.pin("trial-plugin", "1.0"), tree.index.pin("trial-cover", "1.0"))
    shutil.rmtree(tree.folder / ".uv", ignore_errors=True)

    done = tree.install(python)

    assert done.returncode == 0, done.stderr
    assert used.read_text().startswith(f"pip {version} ")
    assert tree.holds() == {"trial_plugin": "1.0", "trial_cover": "1.0"}


def test_what_the_lock_lacks_is_an_error_that_names_the_lock_and_is_not_looked_for(tree: Tree) -> None:
    tree.lock(tree.index.pin("trial-plugin", "1.0"))

    done = tree.install()

    assert done.returncode != 0
    assert "requirements/trial.txt" in done.stderr
    assert "trial-cover" in done.stderr
    assert tree.index.asked
    assert not [path for path in tree.index.asked if "cover" in path]


def test_a_file_with_another_hash_is_refused(tree: Tree) -> None:
    tree.lock(tree.index.pin("trial-cover", "1.0").replace("sha256:", "sha256:0000")[:-5] + "\n")

    done = tree.install()

    assert done.returncode != 0
    assert "hash" in done.stderr.lower()
    assert tree.holds() == {}


def test_an_environment_follows_its_lock(tree: Tree) -> None:
    tree.lock(tree.index.pin("trial-plugin", "1.0"), tree.index.pin("trial-cover", "1.0"))
    assert tree.install().returncode == 0

    tree.lock(tree.index.pin("trial-cover", "2.0"))
    done = tree.install()

    assert done.returncode == 0, done.stderr
    assert tree.holds() == {"trial_cover": "2.0"}


@pytest.mark.parametrize("environment", [True, False])
def test_the_index_is_the_one_that_pip_would_take(tree: Tree, tmp_path: Path, environment: bool) -> None:
    nobody, config = "http://127.0.0.1:9/simple", tmp_path / "pip.conf"
    config.write_text(f"[global]\nindex-url = {nobody}\n[install]\nindex-url = {nobody if environment else tree.index.url}\n")
    told = {"PIP_CONFIG_FILE": str(config), "UV_CACHE_DIR": str(tmp_path / "cache")} | ({"PIP_INDEX_URL": tree.index.url} if environment else {})
    # uv itself comes from where the machine's pip finds it.
    tree.lock(tree.index.pin("trial-cover", "2.0"))
    tree.install()
    tree.lock(tree.index.pin("trial-cover", "1.0"))

    done = tree.install(told=told)

    assert (done.returncode, tree.holds()) == (0, {"trial_cover": "1.0"}), done.stderr
