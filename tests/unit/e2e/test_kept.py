"""What outlives a run of `make e2e` is made once, and does not grow for ever."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.e2e.kept import ABANDONED_SECONDS, MOST, kept, mark_of


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("E2E_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def use(kind: str, mark: str, age: float = 0.0) -> bool:
    """Use a file and make it as old as that; return whether it was there."""
    file, found = kept(kind, mark, lambda path: path.write_text(mark))
    assert file.read_text() == mark
    os.utime(file, (time.time() - age,) * 2)
    return found


def test_what_is_kept_is_made_once(folder: Path) -> None:
    assert [use("base", "1"), use("base", "1"), use("base", "2")] == [False, True, False]
    assert sorted(file.name for file in folder.iterdir()) == ["base-1.tar", "base-2.tar"]


def test_what_was_not_used_for_the_longest_goes(folder: Path) -> None:
    use("base-trixie", "1", age=10_000)
    for number in range(MOST + 1):
        use("base", f"{number}", age=1000 - number)
        use("base", "0")

    assert sorted(file.name for file in folder.iterdir()) == ["base-0.tar", f"base-{MOST - 1}.tar", f"base-{MOST}.tar", "base-trixie-1.tar"]


def test_what_could_not_be_made_is_not_kept(folder: Path) -> None:
    def fails(path: Path) -> None:
        path.write_text("half of it")
        raise OSError

    with pytest.raises(OSError):  # noqa: PT011 - it has no text
        kept("base", "1", fails)
    (part,) = folder.iterdir()
    use("base", "2")
    assert part.exists(), "somebody may be at it"

    os.utime(part, (time.time() - ABANDONED_SECONDS - 1,) * 2)
    use("base", "2")
    assert not part.exists()


def test_the_mark_tells_parts_apart() -> None:
    assert mark_of("a", "bc") != mark_of("ab", "c")
    assert mark_of("a", b"bc") == mark_of("a", "bc")
