"""The images can be built for arm64: what the lock files pin has a wheel for it, or is built from source by the Dockerfile on whatever machine it runs."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
# No machine has a wheel of these; the Dockerfile's build stage has a compiler and the headers.
BUILT = {"contextvars", "python-ldap", "salt", "timelib"}
# That of the Dockerfile's base image.
(PYTHON,) = re.findall(r"^ARG PYTHON_IMAGE=\S+:(\d+\.\d+)-", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("platform", ["aarch64-unknown-linux-gnu", "x86_64-unknown-linux-gnu"])
@pytest.mark.parametrize("lock", ["runtime-3008", "runtime-3007", "runtime-3006", "postgres", "oidc", "master-extras", "uv", "build"])
def test_everything_has_a_wheel_but_what_is_built_anyway(lock: str, platform: str, tmp_path: Path) -> None:
    path = ROOT / "requirements" / f"{lock}.txt"
    pinned = set(re.findall(r"^([\w.-]+)==", path.read_text(encoding="utf-8"), re.MULTILINE))
    wheels = [word for name in sorted(pinned - BUILT) for word in ("--only-binary", name)]
    uv = subprocess.run([ROOT / "requirements" / "installer"], check=True, capture_output=True, text=True).stdout.strip()

    options = ["--dry-run", "--no-deps", "--require-hashes", "--target", tmp_path / "nowhere", "--python-platform", platform, "--python-version", PYTHON]
    done = subprocess.run([uv, "pip", "install", *options, *wheels, "-r", path], check=False, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
