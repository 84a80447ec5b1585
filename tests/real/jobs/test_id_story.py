"""Every scene of `make id-story` ends as it should."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.real.jobs.id_scenes import SCENES, IdStage, Scene

pytestmark = [pytest.mark.master, pytest.mark.slow]


@pytest.fixture(scope="module")
def stage(program: Callable[[str, str], str]) -> Iterator[IdStage]:
    nginx = program("nginx", "nginx-light")
    # pytest's own folders may be too long for the sockets.
    with tempfile.TemporaryDirectory() as folder, IdStage(Path(folder), nginx) as made:
        yield made


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.title)
def test_who_is_let_in_and_who_is_not(stage: IdStage, scene: Scene) -> None:
    played = stage.play(scene)

    assert (played.code, played.ran) == (scene.code, scene.ran), played.log
