"""Schema, README and the copies in files/ are what they are made from."""

from __future__ import annotations

import subprocess

from tests.helm.rendering import CHART, ROOT


def test_generated_files_are_up_to_date() -> None:
    # The schema of `config` comes from the sidecar's own code, so its own environment has to answer.
    done = subprocess.run([ROOT / ".venv" / "bin" / "python", "-m", "helm.generate", "--check"], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.stdout + done.stderr == ""
    assert done.returncode == 0


def test_the_readme_knows_every_value() -> None:
    table = (CHART / "README.md").read_text(encoding="utf-8").partition("<!-- values -->")[2].partition("<!-- /values -->")[0]

    assert table.count("\n| `") > 150
