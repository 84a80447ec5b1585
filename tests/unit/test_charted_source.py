"""The chart that is published says where it comes from, if anybody has said so."""

from __future__ import annotations

import pytest
import yaml

from requirements.release.charted import published
from tests.unit.test_versions import ROOT

CHART = (ROOT / "helm" / "salt-sidecar" / "Chart.yaml").read_text(encoding="utf-8")
SOURCE = "https://git.example.org/salt-sidecar"


def test_the_address_that_is_known_is_home_and_source() -> None:
    made = yaml.safe_load(published(CHART, SOURCE))

    assert (made["home"], made["sources"]) == (SOURCE, [SOURCE])
    assert {name: value for name, value in made.items() if name not in {"home", "sources"}} == yaml.safe_load(CHART)


def test_no_address_is_made_up() -> None:
    assert published(CHART, "") == CHART


@pytest.mark.parametrize(
    ("chart", "source", "fault"),
    [(CHART, "git@git.example.org:a/b.git", "is no web address"), (CHART, "https://a b", "is no web address"), (f"{CHART}home: x\n", SOURCE, "already")],
)
def test_what_would_not_be_true_is_refused(chart: str, source: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        published(chart, source)
