"""The lock files agree with each other and with pyproject.toml, where no tool sees to it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = ROOT / "requirements"


def pins(name: str) -> dict[str, frozenset[str]]:
    """Return each pin, with its condition, and its hashes."""
    blocks = re.findall(r"^(\S+==.+?) \\\n((?:    --hash=\S+(?: \\)?\n)+)", (LOCKS / name).read_text(encoding="utf-8"), re.MULTILINE)
    return {pin: frozenset(re.findall(r"sha256:\w+", hashes)) for pin, hashes in blocks}


@pytest.mark.parametrize("series", ["3008", "3007", "3006"])
def test_what_goes_beside_an_installed_salt_is_what_is_tested_with_that_salt(series: str) -> None:
    beside, whole = pins("beside.txt"), pins(f"runtime-{series}.txt")

    assert beside
    assert {pin: whole.get(pin) for pin in beside} == beside, "run `make lock`"


def test_what_goes_beside_an_installed_salt_is_everything_but_salts() -> None:
    (declared,) = re.findall(r"^dependencies = \[\n(.*?)^\]", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    needed = {name.lower() for name in re.findall(r'^    "([\w-]+)', declared, re.MULTILINE)}

    assert needed - {pin.split("==")[0] for pin in pins("beside.txt")} == {"salt", "pyyaml"}, "run `make lock`"


@pytest.mark.parametrize("extra_lock", ["postgres.txt", "oidc.txt"])
@pytest.mark.parametrize("tested", ["dev", "test-3007", "test-3006"])
def test_what_an_extra_needs_is_what_is_tested(extra_lock: str, tested: str) -> None:
    extra, whole = pins(extra_lock), pins(f"{tested}.txt")

    assert extra
    assert {pin: whole.get(pin) for pin in extra} == extra, "run `make lock`"


# Of each series: the first release in which the master refuses what CVE-2022-22967 and CVE-2024-38825 are about.
FIXED = {"3008": (3008, 0), "3007": (3007, 4), "3006": (3006, 12)}


@pytest.mark.parametrize("series", FIXED)
def test_the_salts_here_have_what_only_the_master_can_fix(series: str) -> None:
    (version,) = (pin.split()[0].partition("==")[2] for pin in pins(f"runtime-{series}.txt") if pin.startswith("salt=="))

    assert tuple(int(part) for part in version.split(".")) >= FIXED[series]
