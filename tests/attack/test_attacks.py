"""Every attack of the table is played on the running product, and the gate holds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.attack.declared import ATTACKS
from tests.attack.scene import Attack, Scene

pytestmark = [pytest.mark.master, pytest.mark.slow]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with Scene(tmp_path_factory.mktemp("scene")) as made:
        yield made


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: f"{attack.point}: {attack.what}")
def test_the_gate_holds(scene: Scene, attack: Attack) -> None:
    seen = attack.play(scene)

    assert seen.held, f"before: {attack.before}; now: {seen.now}"
