"""Secrets in files: what a rotation does to them, and who hears of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from service.audit.hashing import key_of
from service.errors import ConfigFault, InvalidConfiguration
from service.secrets.reading import MOST_BYTES, whole
from service.secrets.secret_file import ROTATION_SECONDS, BearerFile, SecretFile

SECRET = b"CANARY-secret"


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

    assert BearerFile(None).faults() == BearerFile(tmp_path / "good").faults() == []
    for name, word in {"empty": "is empty", "absent": "No such file", ".": "Is a directory"}.items():
        (fault,) = BearerFile(tmp_path / name).faults()
        assert word in fault.problem
        assert fault.where == "ops.token_file"


def replace(path: Path, content: bytes) -> None:
    (path.parent / "next").write_bytes(content)
    (path.parent / "next").replace(path)


def test_what_was_read_last_stays_in_force_until_there_is_something_better(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b" one\n")
    told: list[ConfigFault] = []
    secret = SecretFile(path, "hook.endpoints.x.secret_file", whole, told.append)
    found = [secret.value()]

    for spoil in (path.unlink, path.mkdir, path.rmdir, lambda: path.write_bytes(b"\n"), lambda: path.write_bytes(b"x" * (MOST_BYTES + 1))):
        spoil()
        found.append(secret.value())
    replace(path, b"two")
    found.append(secret.value())
    path.write_bytes(b"three")
    found.append(secret.value())

    assert found == [b"one"] * 6 + [b"two", b"three"]
    assert [(fault.where, fault.problem) for fault in told] == [("hook.endpoints.x.secret_file", f"{path}: No such file or directory")]


def test_taking_the_file_away_closes_the_door_once_no_rotation_can_be_under_way(tmp_path: Path) -> None:
    now = [0.0]
    path = tmp_path / "token"
    path.write_text("one")
    bearer = BearerFile(path, monotonic=lambda: now[0])
    found = []

    def ask(seconds: float) -> None:
        now[0] += seconds
        found.append(bearer.is_sent("Bearer one"))

    ask(0)
    path.unlink()
    ask(10 * ROTATION_SECONDS)  # nobody asked meanwhile, so this may be the moment of a rotation
    ask(ROTATION_SECONDS)
    ask(1)
    path.write_text("one")
    ask(0)
    path.unlink()
    ask(0)

    assert found == [True, True, True, False, True, True]


def test_a_second_trouble_is_told_too(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    told: list[ConfigFault] = []
    path.write_bytes(b"one")
    secret = SecretFile(path, "x", whole, told.append)

    for content in (b"", b"two", b"", b"", b"three"):
        secret.value()
        replace(path, content)
    secret.value()

    assert [fault.problem for fault in told] == [f"{path}: is empty"] * 2


def test_a_file_that_could_not_be_opened_is_tried_again_though_it_looks_the_same(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"good")
    broken = [OSError("too many open files")]

    def parse(content: bytes) -> bytes:
        if broken:
            raise broken.pop()
        return content

    secret = SecretFile(path, "x", parse)
    with pytest.raises(InvalidConfiguration, match="too many open files"):
        secret.value()

    assert secret.value() == b"good"


@pytest.mark.parametrize("content", [SECRET, SECRET * (MOST_BYTES // 8), b""])
def test_no_fault_quotes_the_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "secret"
    path.write_bytes(content)
    told: list[ConfigFault] = []

    with pytest.raises(InvalidConfiguration) as caught:
        SecretFile(path, "audit.hmac_key_file", key_of, told.append).value()

    assert told == caught.value.faults
    assert SECRET.decode() not in str(caught.value)


def test_a_pipe_in_the_place_of_the_file_blocks_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    assert [fault.problem for fault in BearerFile(tmp_path / "pipe").faults()] == [f"{tmp_path / 'pipe'}: is empty"]
