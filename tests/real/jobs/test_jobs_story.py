"""Every scene of `make jobs-story` comes to what is expected of it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.real.jobs.jobs_scenes import SCENES, Scene, Stage

pytestmark = [pytest.mark.master, pytest.mark.slow]


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    # pytest's own folders may be too long for the sockets.
    with tempfile.TemporaryDirectory() as folder, Stage(Path(folder)) as made:
        yield made


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.title)
def test_a_scene_comes_to_what_is_expected(stage: Stage, scene: Scene, program: Callable[[str, str], str]) -> None:
    if scene.needs is not None:
        program(scene.needs, "postgresql")

    assert stage.play(scene) == scene.expected
