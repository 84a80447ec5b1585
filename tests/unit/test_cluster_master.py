"""What runs a salt-master of config/compose/cluster.yaml: whom it waits for, and when it gets the cluster going."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.documented.shell import program

SCRIPTS = Path(__file__).parents[2] / "config" / "compose"
ADDRESS = "10.212.57.202"
LOG = f"master/cluster/consensus/{ADDRESS}/cluster/log/0.p"
# The first master listens, and the master is taken in, at the third question, or when a proposal was made. Each program says what it was asked.
PYTHON = """
if [ "$1" = -c ]; then kind=listens words="$3"; else kind=ping words=; fi
echo x >>"$HERE/$kind"
[ "$(wc -l <"$HERE/$kind")" -eq 1 ] && echo "$kind $words" | sed 's/ *$//' >>"$HERE/said"
[ "$(wc -l <"$HERE/$kind")" -ge 3 ] || { [ "$kind" = ping ] && [ -e "$HERE/proposed" ]; } || exit 1
[ "$kind" = listens ] || touch "$HERE/taken-in"
"""
PROGRAMS = {
    "python3": PYTHON,
    "salt-run": 'echo "salt-run $*" >>"$HERE/said"; touch "$HERE/proposed"',
    "salt-master": 'echo "salt-master $*" >>"$HERE/said"; until [ -e "$HERE/taken-in" ]; do sleep 1; done',
    "sleep": "exec /bin/sleep 0.05",
}
STARTS = "salt-master --log-level=info"
PROPOSES = "salt-run cluster.route_clear data_type=unused"


def said(folder: Path, *words: str) -> set[str]:
    """Run the script until its master is taken in; return what it asked others, each once."""
    for name, text in PROGRAMS.items():
        program(folder / "bin", name, text)
    environ = {**os.environ, "PATH": f"{folder / 'bin'}:/usr/bin:/bin", "HERE": str(folder), "CACHE": str(folder), "POD_IP": ADDRESS}
    subprocess.run(["sh", SCRIPTS / "cluster-master", *words], check=True, env=environ, timeout=300)
    return set((folder / "said").read_text(encoding="utf-8").splitlines())


@pytest.fixture
def knows_the_cluster(tmp_path: Path) -> None:
    """Leave what a master that was in the cluster leaves."""
    (tmp_path / LOG).parent.mkdir(parents=True)
    (tmp_path / LOG).write_text("an entry")
    (tmp_path / "master" / f".cluster_joined.{ADDRESS}").touch()


@pytest.mark.costly
def test_a_new_master_waits_for_the_first_one_and_proposes_nothing(tmp_path: Path) -> None:
    assert said(tmp_path, "salt-master") == {"listens salt-master", STARTS, "ping"}


@pytest.mark.costly
def test_the_first_master_waits_for_nobody(tmp_path: Path) -> None:
    assert said(tmp_path) == {STARTS, "ping"}


@pytest.mark.costly
@pytest.mark.usefixtures("knows_the_cluster")
@pytest.mark.parametrize("words", [(), ("salt-master",)])
def test_a_master_that_starts_again_waits_for_nobody_and_proposes_something_until_it_answers(tmp_path: Path, words: tuple[str, ...]) -> None:
    assert said(tmp_path, *words) == {STARTS, "ping", PROPOSES}
