"""What a program said before it failed is shown, without the lines that only say how far it was."""

from __future__ import annotations

import sys

import pytest

from tests.e2e.shell import StepFailed, run

SAYS = """
print("F.s  [  1%]", "E   assert 1 == 2", sep=chr(10))
for share in range(2, 100):
    print(f"....  [ {share}%]")
raise SystemExit(2)
"""


def test_what_failed_is_not_pushed_out_by_dots() -> None:
    with pytest.raises(StepFailed, match="exit code 2") as failed:
        run(sys.executable, "-c", SAYS)

    assert "\n    E   assert 1 == 2\n" in str(failed.value)
    assert "[ 99%]" not in str(failed.value)


def test_the_end_of_a_long_story_is_shown() -> None:
    with pytest.raises(StepFailed) as failed:
        run(sys.executable, "-c", "for number in range(100): print('line', number)\nraise SystemExit(1)")

    shown = [line.strip() for line in str(failed.value).splitlines()]
    assert shown[-40:] == [f"line {number}" for number in range(60, 100)]
    assert "line 59" not in shown


@pytest.mark.costly
def test_a_program_without_an_end_is_ended() -> None:
    with pytest.raises(StepFailed, match="no end within 1 s"):
        run(sys.executable, "-c", "import time\nprint('begun', flush=True)\ntime.sleep(600)", timeout=1)
