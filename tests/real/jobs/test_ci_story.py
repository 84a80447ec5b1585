"""Every scene of `make ci-story` ends as it should, on each platform in turn."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.real.jobs.ci_scenes import PLATFORMS, SCENES, CiStage, Scene

pytestmark = [pytest.mark.master, pytest.mark.slow]


@pytest.fixture(scope="module")
def stage(program: Callable[[str, str], str]) -> Iterator[CiStage]:
    nginx = program("nginx", "nginx-light")
    # pytest's own folders may be too long for the sockets.
    with tempfile.TemporaryDirectory() as folder, CiStage(Path(folder), nginx) as made:
        yield made


@pytest.mark.parametrize(("scene", "platform"), list(zip(SCENES, itertools.cycle(PLATFORMS), strict=False)), ids=lambda one: getattr(one, "title", one))
def test_a_step_ends_as_it_should(stage: CiStage, scene: Scene, platform: str) -> None:
    played = stage.play(scene, platform)

    assert (played.code, played.ran) == (scene.code, scene.ran), played.log
