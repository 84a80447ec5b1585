"""Our version and Salt's release are declared once, in service/__init__.py and in the lock file; whoever repeats them says the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from service import __version__

ROOT = Path(__file__).parents[2]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def salt(series: str) -> str:
    """Return the release in a lock file."""
    (release,) = re.findall(r"^salt==(\S+)", read(f"requirements/runtime-{series}.txt"), re.MULTILINE)
    return str(release)


TAG = f"{__version__}-salt{salt('3008')}"


def test_the_dockerfile_builds_this_version_with_the_newest_salt() -> None:
    assert dict(re.findall(r"^ARG (VERSION|SALT_VERSION)=(.+)$", read("Dockerfile"), re.MULTILINE)) == {"VERSION": __version__, "SALT_VERSION": salt("3008")}


def test_compose_runs_the_images_that_are_built() -> None:
    text = read("compose.yaml")

    assert re.findall(r"SALT_VERSION:-([^}]+)", text) == [salt("3008")] * 2
    assert re.findall(r"\{(?:SALT|SIDECAR)_IMAGE:-([^}]+)", text) == [f"salt:{TAG}", f"salt-sidecar:{TAG}"]


@pytest.mark.parametrize("name", ["SALT_VERSION", "SALT_IMAGE", "SIDECAR_IMAGE"])
def test_an_example_is_what_compose_does_without_it(name: str) -> None:
    (example,) = re.findall(rf"^#{name}=(.+)$", read(".env.example"), re.MULTILINE)

    assert f"${{{name}:-{example}}}" in read("compose.yaml")


def test_the_chart_runs_the_images_that_are_built() -> None:
    chart = yaml.safe_load(read("helm/salt-sidecar/Chart.yaml"))

    # Its own version is another one: values change where the images do not, and `helm upgrade` tells by it what is new (templates/_upgrade.tpl).
    assert chart["appVersion"] == TAG
    assert [int(part) for part in chart["version"].split(".")] >= [int(part) for part in __version__.split(".")]


def test_the_tags_in_the_documentation_are_those_of_this_version() -> None:
    tagged = {tag for page in (ROOT / "docs").rglob("*.md") for tag in re.findall(r"\bsalt(?:-sidecar)?:(\d[\w.-]*)", page.read_text(encoding="utf-8"))}

    assert tagged == {TAG}


@pytest.mark.parametrize("series", ["3008", "3007", "3006"])
def test_what_the_masters_image_has_besides_fits_each_salt(series: str) -> None:
    left_out = re.findall(r"^# ([\w-]+)$", read("requirements/master-extras.txt"), re.MULTILINE)
    lock = read(f"requirements/runtime-{series}.txt")

    assert left_out
    assert [name for name in left_out if f"\n{name}==" not in f"\n{lock}"] == []
