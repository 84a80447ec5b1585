"""The ops token: one file, read anew when it changes."""

from __future__ import annotations

import os
from pathlib import Path

from service.secrets.bearer import BearerFile, token_faults
from service.settings.settings import OpsSettings


def test_only_the_token_in_the_file_opens_and_a_new_one_takes_over(tmp_path: Path) -> None:
    path = tmp_path / "token"
    bearer = BearerFile(path)
    absent = bearer.is_sent("Bearer one")
    path.write_text("one\nnot this\n")

    assert not absent
    for header, opens in {
        "Bearer one": True,
        "bearer  one ": True,
        "Bearer two": False,
        "Bearer": False,
        "": False,
        "Basic one": False,
        "one": False,
        "Bearer é": False,
    }.items():
        assert bearer.is_sent(header) is opens, header
    (tmp_path / "next").write_text("two")
    (tmp_path / "next").replace(path)
    assert (bearer.is_sent("Bearer one"), bearer.is_sent("Bearer two")) == (False, True)
    path.write_text("\n")
    os.utime(path, ns=(1, 1))
    assert not bearer.is_sent("Bearer ")
    assert BearerFile(None).is_sent("")


def test_a_token_file_that_opens_for_nobody_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "good").write_text("x")

    assert token_faults(OpsSettings()) == token_faults(OpsSettings(token_file=tmp_path / "good")) == []
    for name, word in {"empty": "is empty", "absent": "No such file", ".": "Is a directory"}.items():
        (fault,) = token_faults(OpsSettings(token_file=tmp_path / name))
        assert word in fault.problem
        assert fault.where == "ops.token_file"
